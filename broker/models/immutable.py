"""Rows that are written once: no update, no delete, neither one by one nor through a queryset."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

from django.db import models

_ROW = TypeVar("_ROW", bound=models.Model)


class ImmutableError(TypeError):
    """Somebody tried to change or delete a row that is written once: a programmer's mistake."""


class ImmutableQuerySet(models.QuerySet[_ROW]):
    def update(self, **_: Any) -> NoReturn:
        raise ImmutableError(f"{self.model.__name__} rows are never changed")

    def delete(self) -> NoReturn:
        raise ImmutableError(f"{self.model.__name__} rows are never deleted")


class Immutable(models.Model):
    """A row that is inserted and then only read."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise ImmutableError(f"{type(self).__name__} rows are never changed")
        super().save(*args, **{**kwargs, "force_insert": True})

    def delete(self, *_: Any, **__: Any) -> NoReturn:
        raise ImmutableError(f"{type(self).__name__} rows are never deleted")
