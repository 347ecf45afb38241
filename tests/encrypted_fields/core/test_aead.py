"""One value under one key: what `ValueKey` seals only it opens, and everything else fails the same way."""

from __future__ import annotations

import copy
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encrypted_fields.core.aead import OVERHEAD, ValueKey
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.core.memory import wipe
from tests.encrypted_fields.core.draw import KEY, OTHER_KEY, flipped, often


@often
@given(st.binary(max_size=300), st.binary(max_size=50))
def test_opens_what_it_sealed(plaintext: bytes, aad: bytes) -> None:
    key = ValueKey(KEY)
    sealed = key.seal(plaintext, aad)
    assert len(sealed) == len(plaintext) + OVERHEAD
    assert key.open(sealed, aad) == key.open(memoryview(sealed), aad) == plaintext


@often
@given(st.binary(max_size=100))
def test_refuses_arbitrary_bytes_with_one_class(data: bytes) -> None:
    with pytest.raises(InvalidCiphertext):
        ValueKey(KEY).open(data, b"")


def test_refuses_every_flipped_bit_and_every_length() -> None:
    key = ValueKey(KEY)
    sealed = key.seal(b"diagnosis", b"aad")
    damaged = [*flipped(sealed), *(sealed[:size] for size in range(len(sealed))), sealed + b"\0", b"\0" + sealed]
    for data in damaged:
        with pytest.raises(InvalidCiphertext):
            key.open(data, b"aad")


@pytest.mark.parametrize("aad", [b"", b"aad\0", b"aa", b"daa"])
def test_refuses_another_associated_data(aad: bytes) -> None:
    key = ValueKey(KEY)
    with pytest.raises(InvalidCiphertext):
        key.open(key.seal(b"x", b"aad"), aad)


def test_refuses_another_key() -> None:
    with pytest.raises(InvalidCiphertext):
        ValueKey(OTHER_KEY).open(ValueKey(KEY).seal(b"x", b""), b"")


def test_never_seals_with_the_same_nonce_twice() -> None:
    key = ValueKey(KEY)
    assert len({key.seal(b"", b"")[:12] for _ in range(10_000)}) == 10_000


def test_a_wiped_source_does_not_turn_it_into_the_zero_key() -> None:
    """The AEAD must hold its own copy: kept by reference, a wiped DEK would be a key that everybody knows."""
    source = bytearray(KEY)
    key = ValueKey(source)
    wipe(source)
    sealed = key.seal(b"x", b"")
    assert ValueKey(KEY).open(sealed, b"") == b"x"
    with pytest.raises(InvalidCiphertext):
        ValueKey(bytes(32)).open(sealed, b"")


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33, 64])
def test_takes_only_32_byte_keys(size: int) -> None:
    """AES-128 and AES-192 would be accepted by the library below."""
    with pytest.raises(ValueError, match="32 bytes"):
        ValueKey(bytes(size))


def test_says_nothing_about_what_was_wrong() -> None:
    """One class, one sentence, no cause: neither a short input nor a bad tag can be told apart."""
    seen = set()
    for data in (b"", bytes(27), bytes(28), bytes(100)):
        with pytest.raises(InvalidCiphertext) as caught:
            ValueKey(KEY).open(data, b"")
        error = caught.value
        assert error.__cause__ is None
        assert error.__context__ is None
        seen.add("".join(traceback.format_exception_only(error)))
    assert len(seen) == 1


def test_does_not_print_copy_or_pickle() -> None:
    key = ValueKey(KEY)
    assert repr(key) == str(key) == "<ValueKey>"
    for taken in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            taken(key)
