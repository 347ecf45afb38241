"""Uniqueness told by serializers of Django REST framework, a plain ModelSerializer as well."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models

from encrypted_fields.fields.writing import is_encrypted
from encrypted_fields.search.uniqueness import is_duplicate, unique_sets

if TYPE_CHECKING:
    from encrypted_fields.fields.base import EncryptedField


class Once:
    """Among the validators of an indexed field, which ModelSerializer gives to its own. REST framework calls it with
    the serializer's field; Django with a value alone, and it says nothing: `validate_unique()` does.

    Others than this field, for an index over several and for the tenant, are taken from what was sent, else from the
    row that is updated. In a list (`many=True`) or a nested serializer what was sent beside it cannot be seen.
    """

    requires_context = True

    def __init__(self, field: EncryptedField[Any, Any]) -> None:
        self.field = field

    def __call__(self, value: Any, serializer_field: Any = None) -> None:
        if serializer_field is None:
            return
        from rest_framework.exceptions import ValidationError as Refused
        from rest_framework.fields import SkipField

        model, name = self.field.model, self.field.name
        sets = {names: columns for names, columns in unique_sets(model, constraints=True).items() if name in names}
        beside = _Beside(serializer_field)
        row = beside.row(model) if sets else None
        if row is None:
            return
        setattr(row, self.field.attname, value)
        for names, columns in sets.items():
            asking = [one for one in names if is_encrypted(model._meta.get_field(one)) and beside.sent(one)]
            if asking and asking[-1] != name:
                continue  # that one asks, for both
            try:
                beside.fill(row, [*names, _first(self.field.binding.tenant_from)], but=name)
            except (ValidationError, Refused, SkipField):
                continue  # it is told beside that field
            if is_duplicate(row, model, columns):
                raise row.unique_error_message(model, names)


class _Beside:
    """The serializer that a field belongs to, and what was sent to it."""

    def __init__(self, serializer_field: Any) -> None:
        self.serializer = serializer_field.parent
        self.fields = {one.source: one for one in self.serializer.fields.values() if not one.read_only}
        sent = getattr(self.serializer, "initial_data", None)
        self.data = sent if isinstance(sent, Mapping) else {}  # in a list it is the whole list

    def row(self, model: type[models.Model]) -> Any:
        """What will be saved, as far as it is there already. None when many are updated at once."""
        held = getattr(self.serializer, "instance", None)
        if held is None:
            return model()
        return copy(held) if isinstance(held, model) else None

    def sent(self, source: str) -> bool:
        from rest_framework.fields import empty

        field = self.fields.get(source)
        return field is not None and field.get_value(self.data) is not empty

    def fill(self, row: models.Model, sources: list[str], *, but: str) -> None:
        for source in sources:
            if source != but and self.sent(source):
                field = self.fields[source]
                done, value = field.validate_empty_values(field.get_value(self.data))
                setattr(row, source, value if done else field.to_internal_value(value))


def _first(tenant_from: Any) -> str:
    return tenant_from.split("__")[0] if isinstance(tenant_from, str) else ""
