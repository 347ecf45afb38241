"""Canonical bytes: no two different inputs may give the same associated data."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encrypted_fields.core.context import MAX_PART, KeyContext, ValueContext, canonical
from tests.encrypted_fields.core.draw import contexts, often

inputs = st.tuples(st.text(min_size=1, max_size=8), st.lists(st.binary(max_size=8), max_size=5))


def read(data: bytes) -> tuple[str, list[bytes]]:
    """The inputs back from the bytes: an encoding that can be read back has no collisions."""

    def take() -> bytes:
        nonlocal data
        size = int.from_bytes(data[:4], "big")
        part, data = data[4 : 4 + size], data[4 + size :]
        assert len(part) == size
        return part

    label = take().decode()
    count, data = int.from_bytes(data[:4], "big"), data[4:]
    parts = [take() for _ in range(count)]
    assert data == b""
    return label, parts


@often
@given(inputs)
def test_can_be_read_back_so_no_two_inputs_collide(given_: tuple[str, list[bytes]]) -> None:
    label, parts = given_
    assert read(canonical(label, *parts)) == (label, parts)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("l", b"ab", b"c"), ("l", b"a", b"bc")),
        (("l", b"abc"), ("l", b"abc", b"")),
        (("l", b"", b"abc"), ("l", b"abc", b"")),
        (("l",), ("l", b"")),
        (("la", b"b"), ("l", b"ab")),
        (("l", b"\x00\x00\x00\x01a"), ("l", b"", b"a")),
    ],
)
def test_tells_shifted_boundaries_apart(one: tuple[str, bytes], other: tuple[str, bytes]) -> None:
    """T-7: ("ab", "c") is not ("a", "bc")."""
    assert canonical(one[0], *one[1:]) != canonical(other[0], *other[1:])


@often
@given(contexts, contexts)
def test_two_places_never_share_associated_data(one: ValueContext, other: ValueContext) -> None:
    assert (one.aad() == other.aad()) is (one == other)


def test_a_missing_row_is_not_an_empty_row() -> None:
    assert ValueContext("t", "m", "f").aad() != ValueContext("t", "m", "f", b"").aad()


def test_names_are_compared_byte_by_byte() -> None:
    """No Unicode folding: two spellings of é are two tenants."""
    assert ValueContext("caf\u00e9", "m", "f").aad() != ValueContext("cafe\u0301", "m", "f").aad()


def test_the_same_place_in_a_value_and_in_a_file_has_different_bytes() -> None:
    context = ValueContext("t", "m", "f", b"1")
    assert context.aad("cmk/value/1") != context.aad("cmk/file/1")


def test_refuses_an_empty_label_and_an_endless_part() -> None:
    canonical("l", bytes(MAX_PART))
    with pytest.raises(ValueError, match="label"):
        canonical("", b"x")
    with pytest.raises(ValueError, match="4096"):
        canonical("l", bytes(MAX_PART + 1))


@pytest.mark.parametrize("member", ["vendor", "tenant", "config", "purpose"])
def test_a_key_is_bound_to_each_fact(member: str) -> None:
    context = KeyContext("v", "t", 3, "dek")
    other = dataclasses.replace(context, **{member: 4 if member == "config" else "other"})
    assert context.aad() != other.aad()
    assert context.facts() != other.facts()
    assert all(isinstance(value, str) for value in context.facts().values())
