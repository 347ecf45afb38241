"""What the base class holds every adapter to, whatever its author forgot."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import (
    CmkError,
    KmsError,
    KmsMisconfigured,
    KmsRefused,
    KmsThrottled,
    KmsUnreachable,
    KmsUnwrapFailed,
    KmsWrapFailed,
)
from tests.tsp.kms.contract import CONTEXT
from tsp.egress import Egress, EgressDenied, EgressFailed
from tsp.kms.base import MAX_BLOB, KmsAdapter

SECRET = "a-credential-in-an-sdk-exception"


class Scripted(KmsAdapter):
    label = "Scripted"

    @dataclass(frozen=True, slots=True)
    class Config:
        pass

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__(self.Config(), Egress())
        self.act = act

    def _wrap(self, key: bytes | bytearray | memoryview, context: KeyContext) -> bytes:
        return bytes(self.act())

    def _unwrap(self, blob: bytes, context: KeyContext) -> bytes:
        return bytes(self.act())

    def translate(self, error: Exception) -> KmsError:
        return KmsUnreachable()


def _failing(error: Exception) -> Callable[[], bytes]:
    def act() -> bytes:
        try:
            raise RuntimeError(SECRET)
        except RuntimeError:
            raise error  # noqa: B904  what a careless adapter does

    return act


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (RuntimeError(SECRET), KmsUnreachable),
        (KmsRefused(), KmsRefused),
        (KmsThrottled(retry_after=3), KmsThrottled),
        (EgressDenied("no"), KmsMisconfigured),
        (EgressFailed("no"), KmsUnreachable),
        (CmkError(), KmsUnreachable),
        (MemoryError(), KmsUnreachable),
    ],
)
def test_no_error_carries_what_an_adapter_held(error: Exception, named: type[KmsError]) -> None:
    kms = Scripted(_failing(error))
    for call in (lambda: kms.wrap(bytes(32), CONTEXT), lambda: kms.unwrap(b"blob", CONTEXT)):
        with pytest.raises(named) as raised:
            call()
        assert type(raised.value) is named
        assert (raised.value.__cause__, raised.value.__context__) == (None, None)
        assert SECRET not in "".join(traceback.format_exception(raised.value))
        frames = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
        assert "act" not in frames  # its local variables would be in an error reporter's hands


@pytest.mark.parametrize("size", [0, MAX_BLOB + 1])
def test_a_blob_of_no_or_too_great_length_is_not_a_wrap(size: int) -> None:
    with pytest.raises(KmsWrapFailed):
        Scripted(lambda: bytes(size)).wrap(bytes(32), CONTEXT)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_anything_but_32_bytes_is_not_a_key(size: int) -> None:
    with pytest.raises(KmsUnwrapFailed):
        Scripted(lambda: bytes(size)).unwrap(b"blob", CONTEXT)
