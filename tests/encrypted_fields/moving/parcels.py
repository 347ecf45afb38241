"""Rows with files in each state of a move, looked at past the ORM."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage
from django.db import connections, models

from encrypted_fields.core.stream import read_header
from encrypted_fields.moving import STATES
from encrypted_fields.moving.shelf import Shelf
from encrypted_fields.moving.table import Table
from tests.sample_app.parcels import TABLE, Parcel, parcel, poster


def models_of() -> list[Any]:
    return [Parcel, *(parcel(state) for state in ("before", *STATES, "after")), *map(poster, STATES)]


def keep_in(storage: Storage, monkeypatch: Any, more: list[Any] | None = None) -> None:
    """All of these models keep their files there."""
    for model in models_of() + (more or []):
        for field in model._meta.local_fields:
            if isinstance(field, models.FileField):
                monkeypatch.setattr(field, "storage", storage)


class Rows:
    """The code of one deploy, on one database."""

    def __init__(self, state: str, database: str, model: Any = None) -> None:
        self.state, self.database, self.model = state, database, model or parcel(state)

    @property
    def all(self) -> Any:
        return self.model.objects.using(self.database)

    def new(self, data: bytes = b"slip", name: str = "slip.txt", **values: Any) -> Any:
        return self.all.create(**{"tenant_id": "north", "slip": ContentFile(data, name), **values})

    def job(self, kind: Any, **options: Any) -> Any:
        return kind(Table(self.model, self.database), [self.model._meta.get_field("slip")], **options)

    def read_one(self, note: str) -> bytes:
        return content(self.all.get(note__endswith=note).slip)

    def read(self) -> list[bytes]:
        """By note."""
        return [content(row.slip) for row in self.all.order_by("note")]


def content(file: Any) -> bytes:
    if not file:
        return b""
    with file.open() as opened:
        return bytes(opened.read())


def names(database: str) -> list[tuple[str, str]]:
    """(in clear, sealed) of each row; "" for none. What they name is what it must be."""
    with connections[database].cursor() as cursor:
        cursor.execute(f"SELECT slip, slip_encrypted FROM {TABLE} ORDER BY note")
        found = [(clear or "", sealed or "") for clear, sealed in cursor.fetchall()]
    storage: Any = parcel("dual")._meta.get_field("slip").storage
    for clear, sealed in found:
        if clear and storage.exists(clear):
            assert not whole(storage, clear).startswith(b"CMKF")
        if sealed and storage.exists(sealed):
            assert read_header(io.BytesIO(whole(storage, sealed)))
    return found


def whole(storage: Storage, name: str) -> bytes:
    with storage.open(name) as file:
        return bytes(file.read())


def kinds(database: str) -> list[tuple[bool, bool]]:
    return [(bool(clear), bool(sealed)) for clear, sealed in names(database)]


def stored(folder: Path) -> list[str]:
    """All that lies in the Storage."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def old_rows(database: str, count: int, **values: Any) -> list[bytes]:
    """In clear, as the code from before wrote them; their contents by note."""
    data = [b"slip %d" % n for n in range(count)]
    for n, one in enumerate(data):
        Rows("before", database).new(one, f"slip-{n}.txt", note=f"{n:04}", **values)
    return data


class Killed(BaseException):
    """As SIGKILL: nobody cleans up after it."""


def killing(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Whatever changes the Storage or the table is a step; the one with number `at` is the last."""
    steps = [0]

    def watched(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def step(self: Any, *arguments: Any, **options: Any) -> Any:
            found = original(self, *arguments, **options)
            steps[0] += 1
            if steps[0] == at:
                raise Killed
            return found

        monkeypatch.setattr(owner, name, step)

    for owner, name in ((FileSystemStorage, "_save"), (Table, "swap"), (FileSystemStorage, "delete")):
        watched(owner, name)
    monkeypatch.setattr(Shelf, "drop", lambda self, name: None)  # a killed run drops nothing


def disturbed(monkeypatch: pytest.MonkeyPatch, write: Callable[[], None]) -> None:
    """`write` happens once, after the new file was stored and before the row is asked to name it."""
    original, todo = Shelf.put, [write]

    def put(self: Shelf, *arguments: Any) -> str:
        found = original(self, *arguments)
        if todo:
            todo.pop()()
        return found

    monkeypatch.setattr(Shelf, "put", put)
