"""A stored value: only the untouched bytes, in their own place, under their own key, open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encrypted_fields.core import envelope
from encrypted_fields.core.aead import OVERHEAD, ValueKey
from encrypted_fields.core.context import ValueContext
from encrypted_fields.core.errors import InvalidCiphertext
from tests.encrypted_fields.core.draw import CONTEXT, EDEK, KEY, contexts, edeks, flipped, often

KEYED = ValueKey(KEY)
STORED = envelope.seal(b"diagnosis", KEYED, EDEK, CONTEXT)


@often
@given(st.binary(max_size=200), edeks, contexts)
def test_opens_what_was_sealed(plaintext: bytes, edek: bytes, context: ValueContext) -> None:
    stored = envelope.seal(plaintext, KEYED, edek, context)
    found = envelope.parse(memoryview(stored))
    assert found.edek == edek
    assert found.open(KEYED, context) == plaintext
    assert len(stored) == envelope.HEAD + len(edek) + OVERHEAD + len(plaintext)
    assert envelope.looks_sealed(stored)


@often
@given(st.binary(max_size=120) | st.binary(max_size=80).map(lambda tail: envelope.MAGIC + tail))
def test_arbitrary_bytes_are_refused_with_one_class(data: bytes) -> None:
    try:
        found = envelope.parse(data)
    except InvalidCiphertext:
        return
    with pytest.raises(InvalidCiphertext):
        found.open(KEYED, CONTEXT)


def test_refuses_every_flipped_bit() -> None:
    """Flips in the EDEK are the proxy's to refuse: here they must come back as a different EDEK, never unnoticed."""
    for data in flipped(STORED):
        try:
            found = envelope.parse(data)
            if found.edek != EDEK:
                continue
            found.open(KEYED, CONTEXT)
        except InvalidCiphertext:
            continue
        pytest.fail("a changed envelope was opened")


def test_refuses_every_truncation_and_extension() -> None:
    for data in [*(STORED[:size] for size in range(len(STORED))), STORED + b"\0", STORED * 2]:
        with pytest.raises(InvalidCiphertext):
            envelope.parse(data).open(KEYED, CONTEXT)


def test_refuses_the_sealed_part_of_another_value_of_the_same_row() -> None:
    other = envelope.seal(b"aspirin", KEYED, EDEK, ValueContext("clinic-a", "clinic.Patient", "drug", b"17"))
    head = envelope.HEAD + len(EDEK)
    with pytest.raises(InvalidCiphertext):
        envelope.parse(STORED[:head] + other[head:]).open(KEYED, CONTEXT)


@pytest.mark.parametrize(
    "context",
    [
        ValueContext("clinic-b", "clinic.Patient", "notes", b"17"),
        ValueContext("clinic-a", "clinic.Doctor", "notes", b"17"),
        ValueContext("clinic-a", "clinic.Patient", "name", b"17"),
        ValueContext("clinic-a", "clinic.Patient", "notes", b"18"),
        ValueContext("clinic-a", "clinic.Patient", "notes"),
        ValueContext("clinic-aclinic.", "Patient", "notes", b"17"),
    ],
)
def test_refuses_another_place(context: ValueContext) -> None:
    with pytest.raises(InvalidCiphertext):
        envelope.parse(STORED).open(KEYED, context)


def test_cannot_be_made_to_forget_its_row() -> None:
    """Clearing the binding byte and asking without a row is a downgrade, and refused by the associated data."""
    unbound = STORED[:4] + b"\0" + STORED[5:]
    with pytest.raises(InvalidCiphertext):
        envelope.parse(unbound).open(KEYED, ValueContext("clinic-a", "clinic.Patient", "notes"))


def test_a_rekeyed_edek_keeps_the_value() -> None:
    stored = envelope.parse(STORED).with_edek(b"another edek")
    assert envelope.parse(stored).edek == b"another edek"
    assert envelope.parse(stored).open(KEYED, CONTEXT) == b"diagnosis"


@pytest.mark.parametrize("edek", [b"", bytes(envelope.MAX_EDEK + 1)])
def test_seals_under_no_edek_that_it_would_not_read(edek: bytes) -> None:
    with pytest.raises(ValueError, match="EDEK"):
        envelope.seal(b"", KEYED, edek, CONTEXT)
    with pytest.raises(ValueError, match="EDEK"):
        envelope.parse(STORED).with_edek(edek)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_refuses_an_unknown_version(version: int) -> None:
    with pytest.raises(InvalidCiphertext):
        envelope.parse(STORED[:3] + bytes([version]) + STORED[4:])


def test_an_edek_length_beyond_the_cap_is_refused_even_if_the_bytes_are_there() -> None:
    head = envelope.MAGIC + b"\x01\x01" + (envelope.MAX_EDEK + 1).to_bytes(2, "big")
    with pytest.raises(InvalidCiphertext):
        envelope.parse(head + bytes(10_000))


@pytest.mark.parametrize("text", [b"", b"CMK", b"CMK stands for customer managed keys, you know", b"cmk" + bytes(60)])
def test_a_text_about_us_is_not_taken_for_an_envelope(text: bytes) -> None:
    assert not envelope.looks_sealed(text)


@pytest.mark.parametrize("version", [1, 2, 31])
def test_an_envelope_of_a_later_version_is_recognised(version: int) -> None:
    assert envelope.looks_sealed(STORED[:3] + bytes([version]) + STORED[4:])
