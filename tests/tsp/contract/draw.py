"""What the tests of the contract draw from: valid documents and records, and JSON of any shape."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

from tsp.contract.tenant import Binding, Document, KmsBody, Leasing, SiemBody

often = settings(max_examples=300, deadline=None)

name = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
number = st.integers(1, 2**31 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
hexes = st.integers(0, 2**256 - 1).map(lambda value: f"{value:064x}")
scalars = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | text
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=6
)
options = st.dictionaries(text, json_values, max_size=3)
provider = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)
bodies = st.builds(
    KmsBody,
    provider=provider,
    options=options,
    primary=st.booleans(),
    leasing=st.builds(Leasing, enabled=st.booleans(), renew=st.integers(30, 300), hold=st.integers(0, 3600)),
) | st.builds(SiemBody, provider=provider, options=options, when_full=st.sampled_from(["refuse", "count"]))


@st.composite
def documents(draw: st.DrawFn) -> Document:
    body = draw(bodies)
    version = draw(number)
    return Document(
        Binding(
            vendor=draw(name),
            tenant=draw(name),
            config=draw(number),
            kind="kms" if isinstance(body, KmsBody) else "siem",
            version=version,
            previous="" if version == 1 else draw(hexes),
            created=draw(
                st.sampled_from(["2026-01-31T23:59:59Z", "2026-01-31T23:59:59.123Z", "2026-01-31T00:00:00+00:00"])
            ),
            tsp_key=draw(hexes)[:32],
        ),
        body,
    )
