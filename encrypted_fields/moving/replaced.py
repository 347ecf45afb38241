"""Stored files of a moving field that its row does not name any more, removed when the change is committed.

A plain one goes in all states but the first, beside which code from before may hold its name; else the field's `unused`
says what goes.
QuerySet.update() and raw SQL are not seen, as with Django's own file fields.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import models, transaction
from django.db.models import signals

from encrypted_fields.fields.fieldfile import EncryptedFieldFile
from encrypted_fields.moving import PLAINTEXT

_KEY = "_cmk_moving"
_Named = tuple[str | None, str | None]  # the sealed file, the plain one


def remove_replaced(model: type[models.Model], field: Any) -> None:
    """Watch saves and deletions of `model`, its proxies and its children."""

    def before(instance: Any, raw: bool = False, using: str = "", update_fields: Any = None, **_: Any) -> None:
        if raw or not isinstance(instance, model) or instance._state.adding:
            return
        file = instance.__dict__.get(field.attname)
        kept = isinstance(file, str) or (isinstance(file, EncryptedFieldFile) and file and file.unchanged)
        if kept or (update_fields is not None and {field.name, field.attname}.isdisjoint(update_fields)):
            return
        instance.__dict__.setdefault(_KEY, {})[field.attname] = _named(model, field, instance.pk, using)

    def after(instance: Any, using: str = "", **_: Any) -> None:
        if isinstance(instance, model):
            sealed, clear = instance.__dict__.get(_KEY, {}).pop(field.attname, (None, None))
            now = getattr(instance, field.attname).pair if sealed or clear else ()
            if sealed and sealed not in now and field.unused == "delete":
                _later(model, field, field.storage, sealed, using)
            if clear and clear not in now and (field.unused == "delete" or field.state != PLAINTEXT):
                _later(model, field.clear, field.clear.storage, clear, using)

    def deleted(instance: Any, using: str = "", **_: Any) -> None:
        if isinstance(instance, model) and field.unused == "delete" and (file := getattr(instance, field.attname)):
            sealed, clear = file.pair
            if sealed:
                _later(model, field, field.storage, sealed, using)
            if clear:
                _later(model, field.clear, field.clear.storage, clear, using)

    key = ("encrypted_fields.moving", model, field.name)
    signals.pre_save.connect(before, weak=False, dispatch_uid=key)
    signals.post_save.connect(after, weak=False, dispatch_uid=key)
    signals.post_delete.connect(deleted, weak=False, dispatch_uid=key)


def _named(model: type[models.Model], field: Any, pk: object, using: str) -> _Named:
    rows = model._base_manager.using(using).filter(pk=pk).values_list(field.attname, field.clear.attname)
    name, clear = rows.first() or (None, None)
    return (None, clear) if name == clear else (name, clear)


def _later(model: type[models.Model], column: Any, storage: Any, name: str, using: str) -> None:
    transaction.on_commit(partial(_remove, model, column, storage, name, using), using=using, robust=True)


def _remove(model: type[models.Model], column: Any, storage: Any, name: str, using: str) -> None:
    if not model._base_manager.using(using).filter(**{column.attname: name}).exists():
        storage.delete(name)
