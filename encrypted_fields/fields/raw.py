"""Encrypted columns in `raw()`, which hands over single values and no rows."""

from __future__ import annotations

import threading
from typing import Any

from encrypted_fields.fields.blocks import Batch
from encrypted_fields.fields.parts import Column, Part
from encrypted_fields.fields.sealed import Sealed

_raw = threading.local()


class _RawGroup:
    """The columns of one raw query: they are asked for one after another, before its first row."""

    __slots__ = ("batch", "fields")

    def __init__(self) -> None:
        self.batch: Batch | None = None
        self.fields: set[Any] = set()


class RawColumn:
    """A converter."""

    __slots__ = ("_field", "_group", "_part")

    def __init__(self, field: Any) -> None:
        group: _RawGroup | None = getattr(_raw, "group", None)
        if group is None or group.batch is not None or field in group.fields:
            group = _raw.group = _RawGroup()
        group.fields.add(field)
        self._field, self._group = field, group
        self._part: Part | None = None

    def __call__(self, value: Any, expression: Any, connection: Any) -> Any:
        name, binding = self._field.attname, self._field.binding
        if self._part is None:
            self._group.batch = self._group.batch or Batch()
            self._part = Part(self._group.batch, binding, connection.alias, None, None, {name: Column(binding, [])})
        column = self._part.columns[name]
        column.add(None if value is None else bytes(value))
        return None if value is None else Sealed(self._part, len(column.stored) - 1)
