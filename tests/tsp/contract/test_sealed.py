"""Sealed configurations on their way: shape checked by everybody, content opened by one."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

from tests.tsp.contract.draw import json_values, name, number, often
from tsp.contract import sealed
from tsp.contract.sealed import MAX_BOX, OVERHEAD, Record
from tsp.contract.tenant import DocumentError

KEY = PrivateKey(bytes(range(32)))
ID = sealed.key_id(bytes(KEY.public_key))
boxes = st.dictionaries(
    st.integers(0, 2**128 - 1).map(lambda value: f"{value:032x}"),
    st.binary(min_size=OVERHEAD + 1, max_size=200),
    min_size=1,
    max_size=4,
)
records = st.builds(
    Record, tenant=name, config=number, kind=st.sampled_from(["kms", "siem"]), version=number, boxes=boxes,
    sequence=st.integers(0, 2**63),
)  # fmt: skip
GOOD = sealed.dump(Record("clinic-a", 7, "kms", 1, {ID: bytes(60)}))

# points whose shared secret with every key is zero (RFC 7748 section 6.1; the list of cr.yp.to/ecdh.html)
LOW_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@often
@given(records)
def test_reads_back_what_it_wrote(record: Record) -> None:
    assert sealed.load(json.loads(json.dumps(sealed.dump(record)))) == record


@often
@given(
    json_values
    | st.fixed_dictionaries(
        {"boxes": json_values}, optional=dict.fromkeys(sorted(GOOD.keys() - {"boxes"}), json_values)
    )
)
def test_arbitrary_json_raises_nothing_but_document_error(found: object) -> None:
    with pytest.raises(DocumentError):
        sealed.load(found)


@often
@given(st.sampled_from(sorted(GOOD)), json_values)
def test_any_member_of_any_other_type_raises_nothing_but_document_error(member: str, value: object) -> None:
    try:
        found = sealed.load(GOOD | {member: value})
    except DocumentError:
        return
    assert sealed.dump(found)[member] == value


def encoded(size: int) -> str:
    return base64.b64encode(bytes(size)).decode()


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "a/b"}, {"config": 0}, {"config": True}, {"config": 2**31}, {"kind": "x"}, {"version": 0},
        {"sequence": -1}, {"sequence": 2**63 + 1}, {"boxes": {}}, {"boxes": []}, {"boxes": {"x": encoded(60)}},
        {"boxes": {ID.upper(): encoded(60)}}, {"boxes": {ID: encoded(OVERHEAD)}}, {"boxes": {ID: encoded(MAX_BOX + 1)}},
        {"boxes": {ID: "not base64!"}}, {"boxes": {ID: encoded(60) + "\n"}}, {"boxes": {ID: None}},
        {"boxes": {f"{number:032x}": encoded(60) for number in range(17)}},
    ],
)  # fmt: skip
def test_refuses_a_record(change: dict[str, Any]) -> None:
    sealed.load(GOOD)
    with pytest.raises(DocumentError):
        sealed.load(GOOD | change)


def test_the_largest_document_fits_and_the_next_does_not() -> None:
    box = sealed.seal(bytes(MAX_BOX - OVERHEAD), bytes(KEY.public_key))
    assert len(box) == MAX_BOX
    sealed.load(GOOD | {"boxes": {ID: base64.b64encode(box).decode()}})
    for size in (0, MAX_BOX - OVERHEAD + 1):
        with pytest.raises(ValueError, match="document"):
            sealed.seal(bytes(size), bytes(KEY.public_key))


@often
@given(st.binary(min_size=1, max_size=200))
def test_only_the_holder_of_the_private_key_opens(document: bytes) -> None:
    box = sealed.seal(document, bytes(KEY.public_key))
    assert SealedBox(KEY).decrypt(box) == document
    with pytest.raises(CryptoError):
        SealedBox(PrivateKey.generate()).decrypt(box)


def test_refuses_every_damaged_box() -> None:
    box = sealed.seal(b"{}", bytes(KEY.public_key))
    opener = SealedBox(KEY)
    damaged = [box[:at] + bytes([box[at] ^ 1 << bit]) + box[at + 1 :] for at in range(len(box)) for bit in range(8)]
    # X25519 ignores the top bit of a public key, but a sealed box hashes the bytes as they are into its nonce
    for data in [*damaged, box[:-1], box + b"\0", box[:OVERHEAD]]:
        with pytest.raises(CryptoError):
            opener.decrypt(data)


@pytest.mark.parametrize("point", LOW_ORDER)
def test_does_not_seal_to_a_key_of_low_order(point: str) -> None:
    """Whoever could slip in such a key would read every configuration."""
    with pytest.raises(ValueError, match="not usable"):
        sealed.seal(b"{}", bytes.fromhex(point))


@pytest.mark.parametrize("point", LOW_ORDER)
def test_does_not_open_a_box_whose_sender_key_is_of_low_order(point: str) -> None:
    box = bytes.fromhex(point) + sealed.seal(b"{}", bytes(KEY.public_key))[32:]
    with pytest.raises(CryptoError):
        SealedBox(KEY).decrypt(box)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_public_key_is_32_bytes(size: int) -> None:
    for take in (sealed.key_id, lambda key: sealed.seal(b"{}", key)):
        with pytest.raises(ValueError, match="32 bytes"):
            take(bytes(size))


@often
@given(records, records)
def test_the_hash_names_the_boxes_and_nothing_else(one: Record, other: Record) -> None:
    assert (one.hash == other.hash) is (dict(one.boxes) == dict(other.boxes))
