"""What the package does nowhere, seen in its source: traps that no single call would show."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest

import encrypted_fields
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.fields.codecs import from_bytes

PACKAGE = Path(encrypted_fields.__file__).parent
# legacy/ reads what other packages wrote, as they wrote it, while a column is on its way from them
SOURCES = [one for one in sorted(PACKAGE.rglob("*.py")) if PACKAGE / "legacy" not in one.parents]


def imported() -> set[str]:
    """Every module and name that the package imports."""
    found: set[str] = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def test_the_secret_key_is_no_data_key() -> None:
    """Trap 11: celery.py signs with it what travels beside a task, and that is all."""
    assert [one.name for one in SOURCES if "SECRET_KEY" in one.read_text()] == ["celery.py"]


def test_nothing_that_is_read_can_run_code() -> None:
    """Trap 15: no pickle, marshal or eval in the package; a pickle inside a sealed value is an error."""
    assert not {"pickle", "marshal", "shelve", "dill"} & imported()
    calls = {
        node.func.id
        for source in SOURCES
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not {"eval", "exec", "compile"} & calls
    with pytest.raises(InvalidCiphertext):
        from_bytes(pickle.dumps("x"))


def test_no_key_is_stretched_when_a_field_is_first_used() -> None:
    """Trap 21: keys are random, so nothing is derived from a password, for no field and no instance of one."""
    assert not [name for name in imported() if "pbkdf2" in name.lower() or "scrypt" in name.lower()]


def test_a_synchronous_request_enters_no_event_loop() -> None:
    """Trap 24: the client of the proxy is synchronous; only those who ask for async get threads."""
    assert "asgiref.sync.async_to_sync" not in imported()
    assert not {"asyncio.run", "nest_asyncio"} & imported()
