"""Ciphertext of other packages, as they wrote it in another process, is read during a move: strictly, and not run."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from django.apps.registry import Apps
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, models
from django.test import override_settings

from encrypted_fields import EncryptedField, PlaintextField
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.legacy import READERS, django_cryptography, reader
from encrypted_fields.moving.encrypting import Encryption
from encrypted_fields.moving.table import Table
from encrypted_fields.testing import MemoryTsp, assert_encrypted
from tests.encrypted_fields.moving.peer import CAN, SETTINGS, TYPES, VALUES
from tests.support.processes import ROOT

PACKAGES = sorted(READERS)


@cache
def written(package: str) -> dict[str, Any]:
    """What the package stored, by type: made by itself, without us on its path."""
    done = subprocess.run(
        [sys.executable, "-I", "tests/encrypted_fields/moving/peer.py", package],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return {name: one["text"] if "text" in one else base64.b64decode(one["bytes"]) for name, one in told.items()}


@pytest.fixture(autouse=True)
def _their_settings() -> Iterator[None]:
    with override_settings(**SETTINGS):
        yield


def inner(name: str, **options: Any) -> Any:
    if TYPES[name] == "Char":
        options["max_length"] = 100
    if TYPES[name] == "Decimal":
        options |= {"max_digits": 8, "decimal_places": 2}
    return getattr(models, TYPES[name] + "Field")(null=True, **options)


@pytest.mark.parametrize("package", PACKAGES)
def test_reads_every_type_that_the_package_keeps(package: str) -> None:
    found = {name: reader(package).read(stored, inner(name)) for name, stored in written(package).items()}
    assert found == {name: VALUES[name] for name in CAN[package]}
    assert {name: type(value) for name, value in found.items()} == {name: type(VALUES[name]) for name in CAN[package]}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_whole_move(package: str, database: str, cmk_tsp: MemoryTsp) -> None:
    """Their ciphertext is read where there is none of ours; encrypt_existing moves it and empties the column."""
    rows = written(package)
    binary = isinstance(rows["text"], bytes)

    def model(state: str | None) -> Any:
        fields: dict[str, Any] = {"__module__": __name__, "id": models.BigAutoField(primary_key=True)}
        fields["Meta"] = type("Meta", (), {"app_label": "peer", "db_table": "peer_row", "apps": Apps()})
        for name in rows:
            column = models.BinaryField if binary else models.JSONField if name == "tree" else models.TextField
            moved = inner(name, db_column=f"{name}_encrypted")
            if state is None:
                fields[name] = EncryptedField(moved)
            else:
                fields[f"{name}_old"] = PlaintextField(column(db_column=name), reader=package)
                fields[name] = EncryptedField(moved, plaintext=f"{name}_old", state=state)
        return type("Row", (models.Model,), fields)

    from encrypted_fields import tenant

    readable, connection = model("readable"), connections[database]
    expected = {name: VALUES[name] for name in rows}
    with tenant("north"):
        with connection.schema_editor() as editor:
            editor.create_model(readable)
        try:
            names = ", ".join(f'"{name}"' for name in rows)
            with connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO peer_row ({names}) VALUES ({', '.join(['%s'] * len(rows))})",
                               list(rows.values()))  # fmt: skip
            row = readable.objects.using(database).get()
            assert {name: getattr(row, name) for name in rows} == expected
            assert not cmk_tsp.calls
            fields = [readable._meta.get_field(name) for name in rows]
            done = Encryption(Table(readable, database), fields).run()
            assert (done.written, done.left, done.calls) == (len(rows), {}, 1)
            after = model(None).objects.using(database).get()
            assert {name: getattr(after, name) for name in rows} == expected
            for name in rows:
                assert_encrypted(after, name)
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT {names} FROM peer_row")
                assert set(cursor.fetchone()) == {None}
        finally:
            with connection.cursor() as cursor:
                cursor.execute("DROP TABLE peer_row")


@pytest.mark.parametrize("package", PACKAGES)
def test_refuses_what_the_package_did_not_write(package: str) -> None:
    stored = written(package)["text"]
    data = stored.encode() if isinstance(stored, str) else stored
    for wrong in (
        b"",
        b"in clear",
        data[:-1],
        data + b"A",
        bytes([data[0] ^ 1]) + data[1:],
        data[:40] + b"AAAA" + data[44:],
    ):
        with pytest.raises(InvalidCiphertext) as told:
            reader(package).read(wrong, inner("text"))
        assert told.value.__cause__ is None
        assert told.value.__context__ is None
    other = {"SECRET_KEY": "x", "SALT_KEY": ["x"], "SECRET_KEY_FALLBACKS": [], "FERNET_KEYS": ["x"],
             "FIELD_ENCRYPTION_KEY": base64.urlsafe_b64encode(b"x" * 32).decode()}  # fmt: skip
    with override_settings(**other), pytest.raises(InvalidCiphertext):
        reader(package).read(stored, inner("text"))


@pytest.mark.parametrize("package", PACKAGES)
def test_never_writes_for_the_package(package: str) -> None:
    field = PlaintextField(models.TextField(db_column="name"), reader=package)
    with pytest.raises(TypeError, match="read only"):
        field.get_db_prep_save("Ann", connections["default"])
    assert field.get_db_prep_save(None, connections["default"]) is None


def test_a_missing_key_is_named() -> None:
    with (
        override_settings(FIELD_ENCRYPTION_KEY=None),
        pytest.raises(ImproperlyConfigured, match="FIELD_ENCRYPTION_KEY"),
    ):
        reader("encrypted_model_fields")


def test_an_unknown_package_is_refused() -> None:
    with pytest.raises(ValueError, match="encrypted_model_fields"):
        reader("rot13")


class _Runs:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(_Runs()),
        pickle.dumps(print),
        pickle.dumps({"a": [object()]}),
        pickle.dumps(Decimal("1")) + b".",
        b"",
        b"cos\nsystem\n(S'true'\ntR.",
        b"cdatetime\nsys\n.",
        b"\x80\x05\x95",
        b"Pid\n.",
        pickle.dumps("x" * 10)[:-1],
    ],
    ids=range(10),
)
def test_a_pickle_makes_plain_values_and_runs_nothing(data: bytes) -> None:
    with pytest.raises(InvalidCiphertext):
        django_cryptography.unpickled(data)


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))  # Python's default is 3 and later 4
@pytest.mark.parametrize("name", sorted(VALUES))
def test_a_pickle_of_a_plain_value_is_read(name: str, protocol: int) -> None:
    assert django_cryptography.unpickled(pickle.dumps(VALUES[name], protocol)) == VALUES[name]
