"""What the property tests of the core draw from: keys, contexts, EDEKs and damaged copies of bytes."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st

from encrypted_fields.core.context import ValueContext

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
EDEK = b"an edek"
CONTEXT = ValueContext("clinic-a", "clinic.Patient", "notes", b"17")

# no deadline: the machine that runs the tests is shared; the number of examples is what counts
often = settings(max_examples=300, deadline=None)
sometimes = settings(max_examples=60, deadline=None)

names = st.text(max_size=20)
rows = st.none() | st.binary(max_size=20)
contexts = st.builds(ValueContext, tenant=names, model=names, field=names, row=rows)
edeks = st.binary(min_size=1, max_size=200)


def flipped(data: bytes) -> Iterator[bytes]:
    """Every copy of `data` with exactly one bit turned over."""
    for position in range(len(data)):
        for bit in range(8):
            yield data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]
