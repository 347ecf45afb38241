"""The protobuf codec agrees with Google's on everything it reads, and refuses the rest with one class."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from encrypted_fields.core.protobuf import ProtobufError, fields, length, varint
from tests.encrypted_fields.core.draw import often

numbers = st.integers(1, 2**29 - 1)
varints = st.tuples(numbers, st.integers(1, 2**64 - 1))
lengths = st.tuples(numbers, st.binary(max_size=300))


def written(found: list[tuple[int, int | bytes]]) -> bytes:
    return b"".join(varint(n, v) if isinstance(v, int) else length(n, v) for n, v in found)


def google_edek() -> type:
    """The message of wire.md section 6.1, built by Google's library."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="edek.proto", package="t", syntax="proto3")
    message = file.message_type.add(name="EncryptedDek")
    for name, number, kind in [
        ("encryptedDekData", 1, kinds.TYPE_BYTES),
        ("kmsConfigId", 2, kinds.TYPE_INT32),
        ("leasedKeyId", 3, kinds.TYPE_INT32),
        ("leasedKeyIv", 4, kinds.TYPE_BYTES),
        ("encryptedLeasedKeyData", 5, kinds.TYPE_BYTES),
        ("tenantId", 6, kinds.TYPE_STRING),
    ]:
        message.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.EncryptedDek"))


GOOGLE = google_edek()


@often
@given(st.lists(varints | lengths, max_size=6))
def test_reads_back_what_it_wrote(found: list[tuple[int, int | bytes]]) -> None:
    assert list(fields(written(found))) == found


@often
@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_nothing_but_protobuf_error(data: bytes) -> None:
    try:
        found = list(fields(data))
    except ProtobufError:
        return
    assert list(fields(written(found))) == [pair for pair in found if pair[1] != 0]


@often
@given(st.binary(max_size=80), st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.text(max_size=20))
def test_agrees_with_googles_library(data: bytes, config: int, lease: int, tenant: str) -> None:
    ours = (length(1, data) if data else b"") + varint(2, config) + varint(3, lease)
    ours += length(6, tenant.encode()) if tenant else b""
    theirs = GOOGLE(encryptedDekData=data, kmsConfigId=config, leasedKeyId=lease, tenantId=tenant)
    assert ours == theirs.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x08", id="a varint is cut"),
        pytest.param(b"\x80", id="a key is cut"),
        pytest.param(b"\x08\x80\x00", id="a varint longer than needed"),
        pytest.param(b"\x88\x00\x01", id="a key longer than needed"),
        pytest.param(b"\x08" + b"\xff" * 10, id="a varint of more than ten bytes"),
        pytest.param(b"\x08" + b"\xff" * 9 + b"\x02", id="a varint of 2^64 and more"),
        pytest.param(b"\x0a\x05abcd", id="a field runs past the end"),
        pytest.param(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", id="a huge length"),
        pytest.param(b"\x00\x01", id="field number zero"),
        pytest.param(b"\x0b\x0c", id="a group"),
        pytest.param(b"\x09" + bytes(8), id="a fixed-width field"),
        pytest.param(b"\x0f", id="wire type seven"),
    ],
)
def test_refuses(data: bytes) -> None:
    with pytest.raises(ProtobufError):
        list(fields(data))


def test_leaves_out_zero_and_writes_the_largest() -> None:
    assert varint(2, 0) == b""
    assert list(fields(varint(2, 2**64 - 1))) == [(2, 2**64 - 1)]


@pytest.mark.parametrize("value", [-1, 2**64])
def test_writes_no_number_that_it_would_not_read(value: int) -> None:
    with pytest.raises(ValueError, match="varint"):
        varint(1, value)
