"""Keys of files, for the commands of a move: 100 files of a tenant in a call, wiped when the block ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from encrypted_fields import client
from encrypted_fields.core.errors import WITHDRAWN, CmkError
from encrypted_fields.core.memory import wipe
from encrypted_fields.core.protocol import WrappedKey
from encrypted_fields.moving.page import label_of
from encrypted_fields.moving.tally import Tally, patiently
from encrypted_fields.policy import permit
from encrypted_fields.tenancy import metadata

FILES = 100  # in a page: their keys lie in memory while these files are read, so there are fewer than of values
_T = TypeVar("_T")


@contextmanager
def sealing_keys(tenants: Sequence[str], binding: Any, tally: Tally) -> Iterator[list[WrappedKey | CmkError]]:
    """A new key for each file, or why its tenant gives none."""
    found = list[WrappedKey | CmkError]()
    try:
        yield _asked(tenants, found, lambda tenant, numbers: _wrapped(tenant, len(numbers), binding), tally)
    finally:
        for one in found:
            if isinstance(one, WrappedKey):
                wipe(one.dek)


@contextmanager
def opening_keys(
    files: Sequence[tuple[str, bytes]], binding: Any, tally: Tally
) -> Iterator[list[bytearray | CmkError]]:
    """(tenant, EDEK) → its key, or why there is none."""
    found = list[bytearray | CmkError]()

    def ask(tenant: str, numbers: list[int]) -> Sequence[bytearray | CmkError]:
        return _opened(tenant, [files[number][1] for number in numbers], binding)

    try:
        yield _asked([tenant for tenant, _ in files], found, ask, tally)
    finally:
        for one in found:
            if isinstance(one, bytearray):
                wipe(one)


def _asked(
    tenants: Sequence[str],
    made: list[_T | CmkError],
    ask: Callable[[str, list[int]], Sequence[_T | CmkError]],
    tally: Tally,
) -> list[_T | CmkError]:
    """In the order of `tenants`, one call each; `made` collects the keys, to be wiped."""
    numbers: dict[str, list[int]] = {}
    for number, tenant in enumerate(tenants):
        numbers.setdefault(tenant, []).append(number)
    found: dict[int, _T | CmkError] = {}
    for tenant, some in numbers.items():
        tally.calls += 1
        try:
            keys = patiently(partial(_all_or_later, made, partial(ask, tenant, some)))
        except WITHDRAWN as error:
            keys = [error] * len(some)
        found.update(zip(some, keys, strict=True))
    return [found[number] for number in range(len(tenants))]


def _all_or_later(made: list[_T | CmkError], ask: Callable[[], Sequence[_T | CmkError]]) -> Sequence[_T | CmkError]:
    keys = ask()
    made.extend(keys)
    later = next((one for one in keys if isinstance(one, CmkError) and one.retryable), None)
    if later is not None:
        raise later
    return keys


def _wrapped(tenant: str, count: int, binding: Any) -> Sequence[WrappedKey | CmkError]:
    return client.current().batch_wrap(permit(metadata(tenant, label_of(binding), None), "encrypt"), count)


def _opened(tenant: str, edeks: list[bytes], binding: Any) -> Sequence[bytearray | CmkError]:
    return client.current().batch_unwrap(permit(metadata(tenant, label_of(binding), None), "decrypt"), edeks)
