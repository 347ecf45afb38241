"""A sealed file: round trips at every chunk edge, random access, and no cut, splice or swap goes unnoticed."""

from __future__ import annotations

import io
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encrypted_fields.core import stream
from encrypted_fields.core.aead import TAG_BYTES
from encrypted_fields.core.context import ValueContext
from encrypted_fields.core.errors import InvalidCiphertext
from encrypted_fields.core.stream import CHUNK, SEALED_CHUNK, Header, OpeningReader, SealingReader, read_header
from tests.encrypted_fields.core.draw import CONTEXT, EDEK, KEY, OTHER_KEY, contexts, edeks, flipped, often, sometimes

HEAD = len(Header(EDEK, bytes(16)).dump())


def seal(data: bytes, key: bytes = KEY, edek: bytes = EDEK, context: ValueContext = CONTEXT) -> bytes:
    return SealingReader(io.BytesIO(data), key, edek, context).read()


def opened(data: bytes, key: bytes = KEY, context: ValueContext = CONTEXT) -> bytes:
    return OpeningReader(io.BytesIO(data), key, context).read()


def content(size: int) -> bytes:
    """Bytes in which each chunk differs from the others."""
    return b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))[:size]


SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK + 7]
THREE = seal(content(2 * CHUNK + 100))
CHUNKS = [THREE[HEAD + n * SEALED_CHUNK : HEAD + (n + 1) * SEALED_CHUNK] for n in range(3)]


class Trickle(io.RawIOBase):
    """A source that gives `step` bytes at most: sockets and object stores do so. None stands for "nothing yet"."""

    def __init__(self, data: bytes, step: int | None) -> None:
        self._inner, self._step = io.BytesIO(data), step

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def read(self, size: int = -1) -> Any:
        return None if self._step is None else self._inner.read(min(size, self._step))


@pytest.mark.parametrize("size", SIZES)
def test_opens_what_was_sealed_at_every_chunk_edge(size: int) -> None:
    data = content(size)
    sealed = seal(data)
    chunks = max(1, -(-size // CHUNK))
    assert len(sealed) == HEAD + size + chunks * TAG_BYTES
    reader = OpeningReader(io.BytesIO(sealed), KEY, CONTEXT)
    assert reader.size == size
    assert reader.read() == data


@sometimes
@given(st.binary(max_size=500), edeks, contexts)
def test_opens_what_was_sealed_for_any_place(data: bytes, edek: bytes, context: ValueContext) -> None:
    sealed = seal(data, edek=edek, context=context)
    assert read_header(io.BytesIO(sealed)).edek == edek
    assert opened(sealed, context=context) == data


@often
@given(st.binary(max_size=120) | st.binary(max_size=100).map(lambda tail: b"CMKF\x01\x00\x02" + tail))
def test_arbitrary_bytes_are_refused_with_one_class(data: bytes) -> None:
    with pytest.raises(InvalidCiphertext):
        opened(data)


@sometimes
@given(st.lists(st.tuples(st.integers(-10, 3 * CHUNK), st.integers(0, CHUNK + 10)), min_size=1, max_size=8))
def test_reads_any_range_like_a_plain_file(reads: list[tuple[int, int]]) -> None:
    plain = content(2 * CHUNK + 100)
    reader = io.BufferedReader(OpeningReader(io.BytesIO(THREE), KEY, CONTEXT))
    for offset, size in reads:
        if offset < 0:
            reader.seek(offset, io.SEEK_END)
            assert reader.read(size) == plain[offset:][:size]
        else:
            reader.seek(offset)
            assert reader.read(size) == plain[offset : offset + size]


@pytest.mark.parametrize("step", [1, 7, 4096, CHUNK - 1])
def test_short_reads_of_the_source_change_nothing(step: int) -> None:
    data = content(CHUNK + 50)
    sealed = SealingReader(Trickle(data, step), KEY, EDEK, CONTEXT).read()  # type: ignore[arg-type]
    assert opened(sealed) == data
    reader = OpeningReader(Trickle(sealed, step), KEY, CONTEXT)  # type: ignore[arg-type]
    assert reader.read() == data


def test_a_source_that_has_nothing_yet_is_not_taken_for_an_ended_one() -> None:
    with pytest.raises(BlockingIOError):
        SealingReader(Trickle(b"abc", None), KEY, EDEK, CONTEXT)  # type: ignore[arg-type]


def test_a_file_with_a_hole_is_never_finished() -> None:
    """When the source fails in the middle, a caller who reads on must not get an authentic file without those bytes."""

    class Breaking(io.BytesIO):
        calls = 0

        def read(self, size: int | None = -1) -> bytes:
            self.calls += 1
            if self.calls == 3:
                raise TimeoutError
            return super().read(size)

    reader = SealingReader(Breaking(content(4 * CHUNK)), KEY, EDEK, CONTEXT)
    with pytest.raises(TimeoutError):
        reader.read()
    with pytest.raises(ValueError, match="hole"):
        reader.read()


@pytest.mark.parametrize("size", [0, 5])
def test_refuses_every_flipped_bit_of_a_small_file(size: int) -> None:
    for data in flipped(seal(content(size))):
        try:
            if read_header(io.BytesIO(data)).edek != EDEK:
                continue  # the proxy's to refuse
            opened(data)
        except InvalidCiphertext:
            continue
        pytest.fail("a changed file was opened")


@pytest.mark.parametrize("chunk", [0, 1, 2])
@pytest.mark.parametrize("offset", [0, 40, -1])
def test_refuses_a_flipped_bit_in_any_chunk(chunk: int, offset: int) -> None:
    start = HEAD + chunk * SEALED_CHUNK
    position = start + offset if offset >= 0 else start + len(CHUNKS[chunk]) - 1
    data = THREE[:position] + bytes([THREE[position] ^ 1]) + THREE[position + 1 :]
    with pytest.raises(InvalidCiphertext):
        opened(data)


@pytest.mark.parametrize(
    "cut", [1, TAG_BYTES, 100, 100 + TAG_BYTES, 100 + TAG_BYTES + 1, SEALED_CHUNK, 2 * SEALED_CHUNK]
)
def test_refuses_a_cut_file_before_a_byte_is_read(cut: int) -> None:
    with pytest.raises(InvalidCiphertext):
        OpeningReader(io.BytesIO(THREE[:-cut]), KEY, CONTEXT)


@pytest.mark.parametrize("tail", [b"\0", bytes(TAG_BYTES), bytes(SEALED_CHUNK), CHUNKS[2], CHUNKS[0]])
def test_refuses_an_extended_file_before_a_byte_is_read(tail: bytes) -> None:
    with pytest.raises(InvalidCiphertext):
        OpeningReader(io.BytesIO(THREE + tail), KEY, CONTEXT)


def test_only_the_right_order_of_chunks_opens() -> None:
    """All 27 ways to lay three chunks, repeats included: only the identity opens (T-7)."""
    good = [
        order
        for order in itertools.product(range(3), repeat=3)
        if _opens(THREE[:HEAD] + b"".join(CHUNKS[n] for n in order))
    ]
    assert good == [(0, 1, 2)]


def test_refuses_a_chunk_spliced_from_a_file_under_the_same_key_and_place() -> None:
    """The salt makes a new file key for each writing, so an older version's chunks do not fit the newer file."""
    older = seal(content(2 * CHUNK + 100))
    spliced = THREE[:HEAD] + older[HEAD : HEAD + SEALED_CHUNK] + THREE[HEAD + SEALED_CHUNK :]
    assert not _opens(spliced)
    assert not _opens(older[:HEAD] + THREE[HEAD:])


def test_refuses_an_empty_last_chunk_after_others() -> None:
    """The last chunk is empty only if the file is, or one content would have two forms. Made here with the key."""
    header = Header(EDEK, bytes(16))
    key = stream._file_key(KEY, header.magic, header.salt, CONTEXT)
    first = key.encrypt(stream._nonce(0, last=False), bytes(CHUNK), None)
    full = key.encrypt(stream._nonce(1, last=True), b"x", None)
    empty = key.encrypt(stream._nonce(1, last=True), b"", None)
    assert _opens(header.dump() + first + full)
    assert not _opens(header.dump() + first + empty)


def test_refuses_another_key_and_another_place() -> None:
    assert not _opens(THREE, key=OTHER_KEY)
    for change in ({"tenant": "b"}, {"model": "b"}, {"field": "b"}, {"row": b"b"}, {"row": None}):
        members = {"tenant": "clinic-a", "model": "clinic.Patient", "field": "notes", "row": b"17"} | change
        assert not _opens(THREE, context=ValueContext(**members))  # type: ignore[arg-type]


def test_a_rekeyed_edek_keeps_the_file() -> None:
    header = read_header(io.BytesIO(THREE))
    assert _opens(Header(b"another and longer edek", header.salt).dump() + THREE[HEAD:])


def test_bad_seeks_are_the_callers_mistake() -> None:
    reader = OpeningReader(io.BytesIO(THREE), KEY, CONTEXT)
    with pytest.raises(ValueError, match="before the start"):
        reader.seek(-1)
    with pytest.raises(ValueError, match="counts from"):
        reader.seek(0, 9)
    assert reader.seek(10 * CHUNK) == 10 * CHUNK
    assert reader.read() == b""


def test_holds_one_chunk_not_the_file() -> None:
    """Sealing and opening 32 MiB takes no more than a few chunks of memory."""
    import tracemalloc

    size = 512 * CHUNK

    class Endless(io.RawIOBase):
        left = size

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            count = min(self.left, len(buffer))
            self.left -= count
            return count

    tracemalloc.start()
    reader = SealingReader(Endless(), KEY, EDEK, CONTEXT)  # type: ignore[arg-type]
    while reader.read(CHUNK):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * CHUNK


def _opens(data: bytes, key: bytes = KEY, context: ValueContext = CONTEXT) -> bool:
    try:
        opened(data, key, context)
    except InvalidCiphertext:
        return False
    return True


@pytest.mark.parametrize("name", ["", "scan.png", "ä" * 512, "x" * 1024])
def test_keeps_a_sealed_name(name: str) -> None:
    sealed = SealingReader(io.BytesIO(content(CHUNK + 9)), KEY, EDEK, CONTEXT, name).read()
    reader = OpeningReader(io.BytesIO(sealed), KEY, CONTEXT)
    assert (reader.name, reader.read()) == (name, content(CHUNK + 9))
    assert len(name) < 5 or name.encode() not in sealed
    assert OpeningReader(io.BytesIO(THREE), KEY, CONTEXT).name is None


def test_a_sealed_name_tells_little_of_its_length_and_cannot_be_changed() -> None:
    one, other = (SealingReader(io.BytesIO(b"x"), KEY, EDEK, CONTEXT, name).read() for name in ("a", "b" * 62))
    assert len(one) == len(other)
    for data in flipped(one):
        if read_header_or_none(data) == EDEK:
            assert not _opens(data)
    head, length = one[: HEAD + 2], 64 + TAG_BYTES
    assert not _opens(head + other[HEAD + 2 : HEAD + 2 + length] + one[HEAD + 2 + length :])
    assert not _opens(b"CMKF\x01" + one[5:HEAD] + one[HEAD + 2 + length :])  # the name taken out
    with pytest.raises(ValueError, match="at most 1024"):
        SealingReader(io.BytesIO(), KEY, EDEK, CONTEXT, "x" * 1025)


def read_header_or_none(data: bytes) -> bytes | None:
    try:
        return read_header(io.BytesIO(data)).edek
    except InvalidCiphertext:
        return None


def test_begins_again_with_the_same_bytes() -> None:
    """A Storage that reads twice (a checksum, a retry) must see one file."""
    reader = SealingReader(io.BytesIO(content(2 * CHUNK + 5)), KEY, EDEK, CONTEXT)
    first = reader.read()
    assert len(first) == reader.sealed_size(2 * CHUNK + 5)
    reader.rewind()
    assert first.startswith(reader.read(100))
    reader.rewind()
    assert reader.read() == first


@pytest.mark.parametrize("changed", [b"y", b"x" * (CHUNK + 1) + b"z", b"x" * CHUNK])
def test_gives_out_no_second_content_under_one_nonce(changed: bytes) -> None:
    """A source that changed between two readings would reuse nonces: nothing of the difference leaves."""
    source = io.BytesIO(b"x" * (CHUNK + 2))
    reader = SealingReader(source, KEY, EDEK, CONTEXT)
    first = reader.read()
    source.seek(0)
    source.truncate()
    source.write(changed)
    reader.rewind()
    found = bytearray()
    with pytest.raises(ValueError, match="changed while"):
        found.extend(itertools.chain.from_iterable(iter(lambda: reader.read(1000), b"")))
    assert first.startswith(bytes(found))
    with pytest.raises(ValueError, match="hole"):
        reader.read(1)


@sometimes
@given(st.lists(st.integers(1, CHUNK + 100), min_size=1, max_size=5))
def test_reads_of_any_size_give_the_same_bytes(sizes: list[int]) -> None:
    """Whole chunks are given out as they are, parts of them are cut: while sealing and while opening."""
    plain = content(CHUNK + 3000)
    for step in sizes:
        sealer = SealingReader(io.BytesIO(plain), KEY, EDEK, CONTEXT)
        sealed = b"".join(iter(lambda: sealer.read(max(step, 500)), b""))  # noqa: B023 - used at once
        assert sealer.finished
        reader = OpeningReader(io.BytesIO(sealed), KEY, CONTEXT)
        assert b"".join(iter(lambda: reader.read(max(step, 500)), b"")) == plain  # noqa: B023
