"""Serializers of Django REST framework over rows that the customer may have withdrawn.

    class PatientSerializer(LockedValues, serializers.ModelSerializer): …

Read: null in the place of a locked value, or nothing if the field says `on_locked="omit"`; `_locked` names them both.
Written: a locked value is never overwritten. Leaving it out, or sending back the null, keeps it; another value is an
error of that field.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist
from rest_framework import serializers

from encrypted_fields.fields.sealed import Locked

MARKER = "_locked"
MESSAGE = "Access withdrawn by the customer: this value can be neither read nor changed."

if TYPE_CHECKING:
    _Serializer = serializers.ModelSerializer[Any]
else:
    _Serializer = object


class LockedValues(_Serializer):
    """Before ModelSerializer. It covers the serializer's own fields, declared ones as well; methods, and sources that
    lead through other rows, see Locked."""

    def get_fields(self) -> Any:
        fields = super().get_fields()
        for name, field in fields.items():
            if _encrypted(self.Meta.model, field.source or name) is not None:
                kind: Any = type(field)
                field.__class__ = _lock_aware(kind)
        return fields

    def to_representation(self, instance: Any) -> Any:
        found = super().to_representation(instance)
        locked = self._locked(instance)
        for name, omitted in locked.items():
            if omitted:
                found.pop(name, None)
        if locked:
            found[MARKER] = list(locked)
        return found

    def to_internal_value(self, data: Any) -> Any:
        locked = self._locked(self.instance) if self.instance is not None else {}
        refused = {name: [MESSAGE] for name in locked if data.get(name) not in (None, "")}
        if refused:
            raise serializers.ValidationError(refused, code="locked")
        for name in locked:
            self.fields[name].read_only = True
        return super().to_internal_value(data)

    def _locked(self, instance: Any) -> dict[str, bool]:
        """The names of locked fields, and whether they are left out."""
        found: dict[str, bool] = {}
        for name, field in self.fields.items():
            encrypted = _encrypted(self.Meta.model, field.source or name)
            if encrypted is not None and isinstance(getattr(instance, encrypted.attname, None), Locked):
                found[name] = encrypted.on_locked == "omit"
        return found


class _LockAware:
    def to_representation(self, value: Any) -> Any:
        return None if isinstance(value, Locked) else super().to_representation(value)  # type: ignore[misc]


@cache
def _lock_aware(kind: type[Any]) -> type[Any]:
    return kind if issubclass(kind, _LockAware) else type(kind.__name__, (_LockAware, kind), {})


def _encrypted(model: Any, source: str) -> Any:
    try:
        field = model._meta.get_field(source)
    except FieldDoesNotExist:
        return None
    return field if getattr(field, "cmk_encrypted", False) else None
