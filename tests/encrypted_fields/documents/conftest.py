"""The key service in memory, installed for one test; after it, every key that was given out must be wiped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from encrypted_fields import client, documents
from tests.encrypted_fields.documents.memory import Keys

A, B = documents.Metadata("a", "user-1"), documents.Metadata("b", "user-1")
FORMATS = list(documents.Format)
DOCUMENT = {"name": b"Jim Bridger", "note": "Ärztlich ✓".encode(), "empty": b"", "bytes": bytes(range(256))}


@pytest.fixture
def keys() -> Iterator[Keys]:
    service = Keys()
    client.install(service)
    yield service
    client.uninstall(service)
    assert not any(any(dek) for dek in service.deks), "a data key was not wiped"
