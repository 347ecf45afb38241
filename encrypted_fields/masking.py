"""Values that must not be seen by the way: in logs, error pages, representations of rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.signals import setting_changed
from django.db import models

MASK = "********"
_DEPTH = 4
_MOST = 50  # members of a collection that are shown


class MaskedRepr:
    """For a model, before models.Model: its repr names the row, whatever `__str__` shows."""

    def __repr__(self) -> str:
        return masked_row(self)


def masked_row(row: Any) -> str:
    return f"<{type(row).__name__} {row.pk}>"


def is_secret_model(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, models.Model) and bool(encrypted_names(model))


@lru_cache(maxsize=1024)
def encrypted_names(model: type[models.Model]) -> frozenset[str]:
    return frozenset(one.name for one in model._meta.concrete_fields if getattr(one, "cmk_encrypted", False))


@lru_cache(maxsize=1)
def secret_names() -> frozenset[str]:
    """The names of all encrypted fields, in lower case, and those in the setting CMK_REDACT."""
    found = {name.lower() for model in apps.get_models() for name in encrypted_names(model)}
    return frozenset(found | {str(name).lower() for name in getattr(settings, "CMK_REDACT", ())})


def is_secret_name(name: str) -> bool:
    """Also behind the prefix of a form or formset."""
    return name.rsplit("-", 1)[-1].lower() in secret_names()


def masked(value: Any, depth: int = _DEPTH) -> Any:
    """`value`, with a text in the place of each row that has encrypted fields, of each queryset of such rows, and of
    what stands under the name of an encrypted field. Looks at no attribute and evaluates no queryset."""
    if isinstance(value, models.Model):
        return masked_row(value) if encrypted_names(type(value)) else value
    if isinstance(value, models.QuerySet):
        return f"<{type(value).__name__} of {value.model.__name__}>" if is_secret_model(value.model) else value
    if depth and isinstance(value, Mapping):
        return {key: MASK if is_secret_name(str(key)) else masked(one, depth - 1) for key, one in value.items()}
    if depth and type(value) in (list, tuple, set, frozenset):
        some = [masked(one, depth - 1) for _, one in zip(range(_MOST), value, strict=False)]
        return value if all(new is old for new, old in zip(some, value, strict=False)) else some
    return value


def masked_text(text: str) -> str:
    """`text` without what follows the name of an encrypted field and `=` or `:`, up to the next comma, bracket or
    line; a value in quotation marks to their end."""
    pattern = _pattern(secret_names())
    return text if pattern is None else pattern.sub(rf"\g<head>{MASK}", text)


@lru_cache(maxsize=4)
def _pattern(names: frozenset[str]) -> re.Pattern[str] | None:
    if not names:
        return None
    choice = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    return re.compile(
        rf"""(?P<head>(?<!\w)(?:{choice})(?!\w)["']?\s*[=:]\s*)(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;&)}}\]\n][^,;&)}}\]\n]*)""",
        re.IGNORECASE,
    )


def _forget(*, setting: str, **_: Any) -> None:
    if setting in ("CMK_REDACT", "INSTALLED_APPS"):
        secret_names.cache_clear()


setting_changed.connect(_forget, dispatch_uid="encrypted_fields.masking")
