"""EDEKs: the format, its bindings, and that no other bytes open. T-18, T-19."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from encrypted_fields.core import protobuf
from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import InvalidEdek, KmsConfigDisabled, KmsError, KmsUnwrapFailed
from tsp import edek

CONTEXT = KeyContext("acme", "a", 11, "dek")
DEK = bytes(range(32))
LEK_CONTEXT = KeyContext("acme", "a", 11, "lek")
configs = st.integers(1, 2**31 - 1)
blobs = st.binary(min_size=1, max_size=300)


def _schema() -> type:
    file = descriptor_pb2.FileDescriptorProto(name="edek.proto", package="ironcorelabs.proto.cmk", syntax="proto3")
    one = file.message_type.add(name="EncryptedDek")
    kinds = descriptor_pb2.FieldDescriptorProto
    for number, (name, kind) in enumerate(
        [
            ("encryptedDekData", kinds.TYPE_BYTES),
            ("kmsConfigId", kinds.TYPE_INT32),
            ("leasedKeyId", kinds.TYPE_INT32),
            ("leasedKeyIv", kinds.TYPE_BYTES),
            ("encryptedLeasedKeyData", kinds.TYPE_BYTES),
            ("tenantId", kinds.TYPE_STRING),
        ],
        start=1,
    ):
        one.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    file.message_type.add(name="EncryptedDeks").field.add(
        name="encryptedDeks", number=1, type=kinds.TYPE_MESSAGE, label=kinds.LABEL_REPEATED,
        type_name=".ironcorelabs.proto.cmk.EncryptedDek",
    )  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ironcorelabs.proto.cmk.EncryptedDeks"))


Reference = _schema()


def _leased(lek: bytes, dek: bytes, tenant: str = "a", config: int = 11) -> tuple[bytes, bytes]:
    context = KeyContext("acme", tenant, config, "lek")
    elek = edek.direct(lek, context, b"what the key service made of the LEK")
    info = edek.lease_info("acme", tenant, config, edek.sha256(elek).digest())
    head, tail = edek.leased_frame(config, elek)
    return head + edek.seal_leased(lek, info, dek) + tail, info


@given(config=configs, blob=blobs, key=st.binary(min_size=32, max_size=32))
def test_a_direct_edek_reads_as_what_googles_library_reads(config: int, blob: bytes, key: bytes) -> None:
    content = edek.direct(key, KeyContext("acme", "a", config, "dek"), blob)
    data = edek.serialize(config, content)
    read = Reference.FromString(data)  # type: ignore[attr-defined]
    assert len(read.encryptedDeks) == 1
    assert (read.encryptedDeks[0].encryptedDekData, read.encryptedDeks[0].kmsConfigId) == (content, config)
    assert read.SerializeToString() == data
    assert edek.parse(data, "a") == edek.Edek(config, content)
    assert edek.blob_of(content) == blob


@given(config=configs, lek=st.binary(min_size=32, max_size=32))
@settings(max_examples=50)
def test_a_leased_edek_survives_the_rewriting_of_clients(config: int, lek: bytes) -> None:
    """Clients parse it, add the tenant and serialize it anew (wire.md section 6.2)."""
    data, _ = _leased(lek, DEK, config=config)
    read = Reference.FromString(data)  # type: ignore[attr-defined]
    assert read.SerializeToString() == data
    assert 0 < read.encryptedDeks[0].leasedKeyId < 2**31
    assert read.encryptedDeks[0].leasedKeyIv == b""
    inner = Reference.FromString(read.encryptedDeks[0].encryptedLeasedKeyData)  # type: ignore[attr-defined]
    assert inner.encryptedDeks[0].kmsConfigId == config
    read.encryptedDeks[0].tenantId = "a"
    assert edek.parse(read.SerializeToString(), "a") == edek.parse(data, "a")


@given(data=st.data())
def test_the_quick_reading_is_the_strict_one(data: st.DataObject) -> None:
    """EDEKs of a leased key are read with the help of what was read before: no change to one makes a difference."""
    rest = data.draw(
        st.sampled_from([b"", protobuf.length(6, b"a"), protobuf.length(6, b"b"), protobuf.length(4, b"")])
    )
    whole, _ = _leased(bytes(32), DEK, config=data.draw(st.sampled_from([1, 11, 2**31 - 1])))
    changed = bytearray(protobuf.length(1, whole[3:] + rest))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(changed) - 1), st.integers(0, 255)), max_size=2)):
        changed[at] = value
    cut = bytes(changed[: data.draw(st.integers(0, len(changed)) | st.just(len(changed)))])
    assert _outcome(edek.parse, cut) == _outcome(edek._parse, cut)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_key_of_zeros_is_never_wrapped(kind: Callable[[bytes], edek.Key]) -> None:
    """It is one that was wiped too early, and everybody can guess it."""
    info = edek.lease_info("acme", "a", 11, bytes(32))
    with pytest.raises(ValueError, match="zeros"):
        edek.seal_leased(DEK, info, kind(bytes(32)))
    with pytest.raises(ValueError, match="zeros"):
        edek.seal_many(DEK, info, [DEK, kind(bytes(32)), DEK])


def _outcome(read: Callable[[bytes, str], edek.Edek], data: bytes) -> object:
    try:
        return read(data, "a")
    except KmsError as error:
        return type(error)


def test_refuses_an_edek_that_names_another_tenant() -> None:
    content = edek.direct(bytes(32), CONTEXT, b"blob")
    data = edek.serialize(11, content, protobuf.length(6, b"b"))
    with pytest.raises(KmsConfigDisabled):
        edek.parse(data, "a")


@given(data=st.binary(max_size=200))
def test_refuses_foreign_bytes_with_one_class(data: bytes) -> None:
    with pytest.raises(InvalidEdek):
        edek.parse(data, "a")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"edek",
        protobuf.length(1, b""),
        edek.serialize(11, b"\x01\x01" + bytes(40)) * 2,
        edek.serialize(11, b"\x01\x01" + bytes(40), protobuf.length(7, b"x")),
        edek.serialize(11, b"\x01\x01" + bytes(40), protobuf.length(4, bytes(12))),
        edek.serialize(11, b"\x01\x01" + bytes(40), protobuf.varint(2, 12)),
        edek.serialize(11, b"\x01\x01" + bytes(40), protobuf.varint(3, 5)),
        edek.serialize(11, b"\x02\x01" + bytes(40)),
        edek.serialize(11, b"\x01\x03" + bytes(40)),
        edek.serialize(11, b"\x01\x01" + bytes(32)),
        edek.serialize(11, b"\x01\x01" + bytes(32 + 2049)),
        edek.serialize(11, b"\x01\x02" + bytes(96)),
        protobuf.length(1, protobuf.length(1, b"\x01\x01" + bytes(40))),
        protobuf.length(1, protobuf.length(1, b"\x01\x01" + bytes(40)) + protobuf.varint(2, 2**31)),
        edek.serialize(11, b"\x01\x01" + bytes(40), protobuf.length(6, bytes(5000))),
    ],
    ids=[
        "empty", "text", "empty element", "two elements", "unknown member", "an IV", "two configurations",
        "a lease id alone", "unknown version", "unknown mode", "no blob", "blob too long",
        "leased without a leased key", "no configuration", "configuration above int32", "too long",
    ],
)  # fmt: skip
def test_refuses_what_we_never_write(data: bytes) -> None:
    with pytest.raises(InvalidEdek):
        edek.parse(data, "a")


@pytest.mark.parametrize("config", [0, -1, 2**31])
def test_never_writes_a_configuration_number_that_clients_cannot_read_back(config: int) -> None:
    """With 0 alloy encrypts fine and never decrypts (rule 4)."""
    with pytest.raises(ValueError, match="from 1 to"):
        edek.serialize(config, b"\x01\x01" + bytes(40))


def _open(data: bytes, lek: bytes, info: bytes) -> bytes:
    found = edek.parse(data, "a")
    if found.config != 11:
        raise KmsConfigDisabled  # what the tenant's configurations say
    return edek.open_leased(lek, info, found.content)


def test_every_flipped_bit_of_a_leased_edek_is_refused() -> None:
    """T-19. In the content it is one class, KmsUnwrapFailed, but for the two bytes that say how to read it."""
    lek, dek = os.urandom(32), os.urandom(32)
    data, info = _leased(lek, dek)
    start = data.index(b"\x01\x02")
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(KmsError) as caught:
            _open(bytes(changed), lek, info)
        in_content = start + 2 <= bit // 8 < start + 98
        assert caught.type is (KmsUnwrapFailed if in_content else caught.type)
        assert caught.type in (InvalidEdek, KmsUnwrapFailed, KmsConfigDisabled)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


def test_every_flipped_bit_of_a_commitment_is_refused() -> None:
    key = os.urandom(32)
    content = edek.direct(key, CONTEXT, b"blob")
    edek.check_direct(content, key, CONTEXT)
    for bit in range(2 * 8, 34 * 8):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(KmsUnwrapFailed):
            edek.check_direct(bytes(changed), key, CONTEXT)


@pytest.mark.parametrize(
    "other",
    [
        KeyContext("acme2", "a", 11, "dek"),
        KeyContext("acme", "b", 11, "dek"),
        KeyContext("acme", "a", 12, "dek"),
        KeyContext("acme", "a", 11, "lek"),
        KeyContext("acm", "ea", 11, "dek"),
    ],
)
def test_refuses_a_key_of_another_context(other: KeyContext) -> None:
    """A key service that binds nothing still cannot move a key to another vendor, tenant, configuration or purpose."""
    key = os.urandom(32)
    with pytest.raises(KmsUnwrapFailed):
        edek.check_direct(edek.direct(key, CONTEXT, b"blob"), key, other)


@pytest.mark.parametrize(("vendor", "tenant", "config"), [("acme2", "a", 11), ("acme", "b", 11), ("acme", "a", 12)])
def test_a_leased_key_opens_only_for_its_own_tenant(vendor: str, tenant: str, config: int) -> None:
    lek, dek = os.urandom(32), os.urandom(32)
    data, info = _leased(lek, dek)
    found = edek.parse(data, "a")
    assert edek.open_leased(lek, info, found.content) == dek
    with pytest.raises(KmsUnwrapFailed):
        edek.open_leased(lek, edek.lease_info(vendor, tenant, config, found.digest), found.content)


def test_two_wraps_of_one_key_share_nothing() -> None:
    """A derived key and nonce for each wrap (house decision 4)."""
    lek, dek = os.urandom(32), os.urandom(32)
    first, second = (edek.parse(_leased(lek, dek)[0], "a").content for _ in range(2))
    assert first[2:18] != second[2:18]
    assert first[18:50] != second[18:50]
    assert first[50:] != second[50:]


def test_the_lease_id_is_never_zero() -> None:
    """0 would make clients take a leased EDEK for an unleased one."""
    assert edek.leased_key_id(bytes(32)) == 1
    assert edek.leased_key_id(b"\x80" + bytes(31)) == 1
    assert edek.leased_key_id(b"\xff" * 32) == 2**31 - 1
