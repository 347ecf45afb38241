"""Stored files that no row names any more, removed when the change is committed: `EncryptedFileField(unused="delete")`.

QuerySet.update() and raw SQL are not seen; their old files stay.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import models, transaction
from django.db.models import signals

_KEY = "_cmk_replaced"


def remove_unused(model: type[models.Model], field: Any) -> None:
    """Watch saves and deletions of `model`, its proxies and its children."""

    def before(instance: Any, raw: bool = False, using: str = "", update_fields: Any = None, **_: Any) -> None:
        if raw or not isinstance(instance, model) or instance._state.adding:
            return
        if update_fields is None or not {field.name, field.attname}.isdisjoint(update_fields):
            rows = model._base_manager.using(using).filter(pk=instance.pk)
            name = rows.values_list(field.attname, flat=True).first()
            instance.__dict__.setdefault(_KEY, {})[field.attname] = name

    def after(instance: Any, using: str = "", **_: Any) -> None:
        if isinstance(instance, model):
            name = instance.__dict__.get(_KEY, {}).pop(field.attname, None)
            if name and name != str(getattr(instance, field.attname) or ""):
                transaction.on_commit(partial(_remove, model, field, name, using), using=using, robust=True)

    def deleted(instance: Any, using: str = "", **_: Any) -> None:
        name = str(getattr(instance, field.attname) or "") if isinstance(instance, model) else ""
        if name:
            transaction.on_commit(partial(_remove, model, field, name, using), using=using, robust=True)

    key = f"encrypted_fields.unused.{model._meta.label}.{field.name}"
    signals.pre_save.connect(before, weak=False, dispatch_uid=key)
    signals.post_save.connect(after, weak=False, dispatch_uid=key)
    signals.post_delete.connect(deleted, weak=False, dispatch_uid=key)


def _remove(model: type[models.Model], field: Any, name: str, using: str) -> None:
    if not model._base_manager.using(using).filter(**{field.attname: name}).exists():
        field.storage.delete(name)
