"""Every parser raises InvalidCiphertext and nothing else, and reads what Google's protobuf library writes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from encrypted_fields.core import protobuf
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.documents import deterministic, edeks, v3, v5, values
from encrypted_fields.documents.key import DocumentKey
from encrypted_fields.documents.v3 import STRICT, Trust
from tests.encrypted_fields.core.draw import KEY, often, sometimes

ELEMENT = protobuf.length(1, b"wrapped") + protobuf.varint(2, 77)
PROXYS = protobuf.length(1, ELEMENT)


def of(data: bytes) -> bytearray:
    return bytearray(data)


with DocumentKey(of(KEY)) as key:
    V3_HEADER = v3.make(key, "a")
    KEY_ID, V5_HEADER = v5.make(PROXYS, "a", key)
ATTACHED = v5.attach(KEY_ID, V5_HEADER)

PARSERS: dict[str, Callable[[bytes], object]] = {
    "v3": v3.read,
    "v5": lambda data: v5.read(data[:6], data[6:]),
    "attached": v5.read_attached,
    "edek": edeks.read,
    "field": lambda data: values.read_all({"f": data}, "a", Trust(unsigned=True)),
    "deterministic": deterministic._number,
}
GOOD = [V3_HEADER, KEY_ID + V5_HEADER, ATTACHED, PROXYS, V3_HEADER + bytes(30), v5.MAGIC + bytes(30), bytes(40)]
every_parser = pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good start with some bytes replaced, taken out or put in."""
    data = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


@often
@every_parser
@given(data=st.binary(max_size=200) | damaged())
def test_foreign_bytes_raise_nothing_but_invalid_ciphertext(parser: Callable[[bytes], object], data: bytes) -> None:
    with contextlib.suppress(InvalidCiphertext):
        parser(data)


@sometimes
@given(tenant=st.text(min_size=1, max_size=50), config=st.integers(1, 2**31 - 1), data=st.binary(min_size=1))
def test_headers_are_read_as_written(tenant: str, config: int, data: bytes) -> None:
    edek = protobuf.length(1, protobuf.length(1, data) + protobuf.varint(2, config))
    with DocumentKey(of(KEY)) as key, DocumentKey(of(bytes(32))) as other:
        header = v3.read(v3.make(key, tenant) + b"more")
        header.admit(tenant, STRICT)
        header.verify(key)
        with pytest.raises(InvalidCiphertext):
            header.verify(other)
        with pytest.raises(InvalidCiphertext):
            header.admit(tenant + "x", STRICT)
        found = edeks.read(b"".join(v5.make(edek, tenant, key)))
        assert found.sent.startswith(protobuf.length(1, protobuf.length(1, data))[:1])
        found.admit(tenant)
        found.verify(key)
        with pytest.raises(InvalidCiphertext):
            found.verify(other)
        assert edeks.read(edek).sent == edek


def google() -> dict[str, Any]:
    """The messages of wire API sections 7.1 and 7.2, built by Google's library, with members that we do not know."""
    kinds = descriptor_pb2.FieldDescriptorProto
    many, one = kinds.LABEL_REPEATED, kinds.LABEL_OPTIONAL
    layout: dict[str, list[tuple[str, int, Any, Any]]] = {
        "EncryptedDek": [("data", 1, kinds.TYPE_BYTES, one), ("config", 2, kinds.TYPE_INT32, one),
                         ("tenant", 6, kinds.TYPE_STRING, one), ("later", 15, kinds.TYPE_STRING, one)],
        "EdekWrapper": [("cmk", 2, ".t.EncryptedDek", one)],
        "Pair": [("key", 1, kinds.TYPE_STRING, one), ("value", 2, kinds.TYPE_STRING, one)],
        "Encryption": [("algorithm", 1, kinds.TYPE_INT32, one)],
        "SignedPayload": [("encryption", 1, ".t.Encryption", one), ("edeks", 2, ".t.EdekWrapper", many),
                          ("user", 3, ".t.Pair", many), ("later", 99, kinds.TYPE_UINT64, one)],
        "SignatureInformation": [("signature", 1, kinds.TYPE_BYTES, one), ("type", 2, kinds.TYPE_INT32, one)],
        "V4": [("info", 1, ".t.SignatureInformation", one), ("payload", 2, ".t.SignedPayload", one),
               ("later", 1000, kinds.TYPE_BYTES, one)],
        "Saas": [("tenant", 1, kinds.TYPE_STRING, one)],
        "V3": [("sig", 1, kinds.TYPE_BYTES, one), ("saas", 3, ".t.Saas", one), ("later", 7, kinds.TYPE_BYTES, one)],
    }  # fmt: skip
    file = descriptor_pb2.FileDescriptorProto(name="documents.proto", package="t", syntax="proto3")
    for name, described in layout.items():
        message = file.message_type.add(name=name)
        for member, number, kind, label in described:
            field = message.field.add(name=member, number=number, label=label)
            if isinstance(kind, str):
                field.type, field.type_name = kinds.TYPE_MESSAGE, kind
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t.{name}")) for name in layout}


GOOGLE = google()


def test_googles_library_reads_our_headers() -> None:
    message = GOOGLE["V4"].FromString(V5_HEADER)
    assert message.info.type == 1
    assert (message.payload.edeks[0].cmk.data, message.payload.edeks[0].cmk.config) == (b"wrapped", 77)
    assert message.payload.edeks[0].cmk.tenant == "a"
    assert GOOGLE["V3"].FromString(V3_HEADER[7:]).saas.tenant == "a"
    assert GOOGLE["V4"].FromString(V5_HEADER).SerializeToString(deterministic=True) == V5_HEADER


def later(algorithm: int = 1, configs: tuple[int, ...] = (5, 77, 77), signed: int = 1) -> bytes:
    """A header with all that others may add: several EDEKs, user metadata, unknown members."""
    payload = GOOGLE["SignedPayload"](
        encryption={"algorithm": algorithm},
        edeks=[{"cmk": {"data": b"%d" % n, "config": c, "later": "new"}} for n, c in enumerate(configs)],
        user=[{"key": "k", "value": "v"}],
        later=2**63,
    )
    with DocumentKey(of(KEY)) as key:
        info = {"signature": key.mac(payload.SerializeToString()), "type": signed}
    return bytes(GOOGLE["V4"](info=info, payload=payload, later=b"new").SerializeToString())


def test_members_that_others_add_are_borne_and_stay_signed() -> None:
    header = v5.read(KEY_ID, later())
    with DocumentKey(of(KEY)) as key:
        header.verify(key)
    assert header.edek == protobuf.length(
        1, GOOGLE["EncryptedDek"](data=b"1", config=77, later="new").SerializeToString()
    )
    message = GOOGLE["V3"].FromString(V3_HEADER[7:])
    message.later = b"new"
    data = message.SerializeToString()
    assert v3.read(v3.MAGIC + len(data).to_bytes(2, "big") + data).tenant == "a"


def test_members_may_come_in_another_order() -> None:
    (_, info), (_, payload) = protobuf.fields(V5_HEADER)
    assert isinstance(info, bytes)
    assert isinstance(payload, bytes)
    assert v5.read(KEY_ID, protobuf.length(2, payload) + protobuf.length(1, info)).tenant == "a"


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(later(configs=(5, 6)), id="no EDEK of the configuration in the key id"),
        pytest.param(later(configs=()), id="no EDEK"),
        pytest.param(later(algorithm=2), id="another algorithm"),
        pytest.param(later(signed=0), id="unsigned"),
        pytest.param(later(signed=2), id="signed in another way"),
        pytest.param(V5_HEADER + V5_HEADER, id="everything twice"),
        pytest.param(b"", id="nothing"),
        pytest.param(V5_HEADER + bytes(70_000), id="too long"),
    ],
)
def test_refuses_a_header(message: bytes) -> None:
    with pytest.raises(InvalidCiphertext):
        v5.read(KEY_ID, message)


@pytest.mark.parametrize(
    "key_id", [b"\0\0\0\0\2\0", b"\0\0\0\x4d\x82\0", b"\0\0\0\x4d\2\1", b"\xff\0\0\x4d\2\0", b"\0\0\0\x4d"]
)
def test_refuses_a_key_id(key_id: bytes) -> None:
    """Number 0, a standalone key, a byte that is always 0, a number above 2^31-1, a short one."""
    with pytest.raises(InvalidCiphertext):
        v5.read(key_id, V5_HEADER)


def test_names_that_do_not_fit_are_a_mistake() -> None:
    with DocumentKey(of(KEY)) as key:
        for run in (lambda: v3.make(key, "a" * 70_000), lambda: v5.make(PROXYS, "a" * 70_000, key)):
            with pytest.raises(ValueError, match="too long"):
                run()


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(protobuf.length(1, bytes(28)) + protobuf.length(2, b""), id="of another product"),
        pytest.param(V3_HEADER[7:] + protobuf.length(2, b""), id="of both"),
        pytest.param(protobuf.length(1, bytes(5)) + protobuf.length(3, b"\n\x01a"), id="signature too short"),
        pytest.param(protobuf.length(1, bytes(29)) + protobuf.length(3, b"\n\x01a"), id="signature too long"),
        pytest.param(protobuf.length(1, bytes(28)), id="of nobody"),
        pytest.param(protobuf.length(1, bytes(28)) + protobuf.length(3, b"\n\x01\xff"), id="not UTF-8"),
    ],
)
def test_refuses_a_v3_header(message: bytes) -> None:
    with pytest.raises(InvalidCiphertext):
        v3.read(v3.MAGIC + len(message).to_bytes(2, "big") + message)


def test_a_header_alone_is_not_taken_for_an_edek() -> None:
    """Its signature has the shape of a wrapped key; what stands beside it gives it away."""
    for foreign in (V5_HEADER, PROXYS + protobuf.varint(9, 1), b""):
        with pytest.raises(InvalidCiphertext):
            edeks.read(foreign)


def test_an_edek_that_names_a_tenant_already_names_one_afterwards() -> None:
    stamped = protobuf.length(1, ELEMENT + protobuf.length(6, b"old"))
    with DocumentKey(of(KEY)) as key:
        header = v5.read(*v5.make(stamped, "new", key))
    assert header.element == ELEMENT + protobuf.length(6, b"new")
