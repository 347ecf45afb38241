"""The shape of what a browser sealed: read without a key, every other shape refused with one class."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import PrivateKey

from encrypted_fields.core.client_sealed import CHUNK, FILE, MAX_HEAD, TEXT, key_id, shape_of, shape_of_file
from encrypted_fields.core.errors import InvalidCiphertext
from tests.encrypted_fields.core.draw import often
from tests.support import client_sealing

KEYS = [PrivateKey(bytes([n]) * 32) for n in range(1, 4)]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("size", [0, 1, 63, 64, 1000])
def test_reads_the_shape_of_a_text(count: int, size: int) -> None:
    found = shape_of(client_sealing.seal(bytes(size), KEYS[:count], b"place", bound=size % 2 == 0))
    assert (found.kind, found.bound, found.size) == (TEXT, size % 2 == 0, (size // 64 + 1) * 64)
    assert list(found.recipients) == sorted(key_id(bytes(key.public_key)) for key in KEYS[:count])


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_reads_the_size_of_a_file(size: int) -> None:
    data = client_sealing.seal(bytes(size), KEYS, b"place", name="f")
    source = io.BytesIO(data)
    found = shape_of_file(source, len(data))
    assert (found.kind, found.size, source.tell()) == (FILE, size, 0)
    for cut in (1, 17, len(data) - 10):
        try:
            assert shape_of_file(io.BytesIO(data[:-cut]), len(data) - cut).size < size
        except InvalidCiphertext:
            continue


@often
@given(st.binary(max_size=400) | st.binary(max_size=MAX_HEAD).map(lambda tail: b"CMKE\x01" + tail))
def test_refuses_or_reads_and_never_breaks(data: bytes) -> None:
    try:
        found = shape_of(data)
    except InvalidCiphertext:
        return
    assert found.recipients
    assert found.size >= 0


def test_refuses_what_no_browser_makes() -> None:
    good = client_sealing.seal(b"text", KEYS[:2], b"place")
    first, second = good[8:104], good[104:200]
    for bad in [
        b"", good[:8], good[:100], good[:-1], good + b"x",
        b"CMKF" + good[4:], good[:4] + b"\2" + good[5:], good[:5] + b"\2" + good[6:], good[:6] + b"\2" + good[7:],
        good[:7] + b"\0" + good[8:], good[:7] + b"\3" + good[8:], good[:7] + b"\xff" + good[8:],
        good[:8] + second + first + good[200:],  # not in order
        good[:8] + first + first + good[200:],  # one of them twice
    ]:  # fmt: skip
        with pytest.raises(InvalidCiphertext):
            shape_of(bad)
    with pytest.raises(ValueError, match="32 bytes"):
        key_id(b"short")
