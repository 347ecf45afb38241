"""T-7: whoever can write the database can move ciphertext about; only a value in its own place opens."""

from __future__ import annotations

import io
import random

from encrypted_fields.core import envelope
from encrypted_fields.core.aead import ValueKey
from encrypted_fields.core.context import ValueContext
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.core.stream import SEALED_CHUNK, OpeningReader, SealingReader, read_header
from tests.encrypted_fields.core.draw import KEY

CASES = 10_000
TENANTS, ROWS, FIELDS = ("a", "b", "ab"), (b"1", b"2", b"12", b"", None), ("c", "bc", "d")


def test_of_ten_thousand_moved_values_only_those_in_their_own_place_open() -> None:
    """The worst case for us: one key for everything, so that nothing but the associated data tells the places apart."""
    key = ValueKey(KEY)
    places = [ValueContext(t, "m", f, r) for t in TENANTS for f in FIELDS for r in ROWS]
    stored = {place: envelope.seal(repr(place).encode(), key, b"edek", place) for place in places}
    draw = random.Random(7)
    at_home = moved = 0
    for _ in range(CASES):
        source = draw.choice(places)
        target = source if draw.random() < 0.1 else draw.choice(places)
        try:
            opened = envelope.parse(stored[source]).open(key, target)
        except InvalidCiphertext:
            assert source != target
            moved += 1
        else:
            assert source == target
            assert opened == repr(source).encode()
            at_home += 1
    assert at_home + moved == CASES
    assert at_home > 500


def test_of_two_thousand_mixed_files_only_the_unmixed_open() -> None:
    """Header, first and last chunk, each from any file of any place and key: only three of a kind open, at home."""
    places = [ValueContext(t, "m", f, r) for t in ("a", "b") for f in ("c", "d") for r in (b"1", None)]
    files = {}
    for number, place in enumerate(places):
        content = bytes([number]) * (SEALED_CHUNK + 10)
        files[place] = SealingReader(io.BytesIO(content), KEY, b"edek", place).read()
    draw = random.Random(8)
    opened = 0
    for case in range(2_000):
        parts = [draw.choice(places)] * 4 if case % 20 == 0 else draw.choices(places, k=4)
        header, first, last, target = parts
        head = len(read_header(io.BytesIO(files[header])).dump())
        mixed = files[header][:head] + files[first][head : head + SEALED_CHUNK] + files[last][head + SEALED_CHUNK :]
        try:
            OpeningReader(io.BytesIO(mixed), KEY, target).read()
        except InvalidCiphertext:
            assert len(set(parts)) > 1
        else:
            assert len(set(parts)) == 1
            opened += 1
    assert opened >= 100
