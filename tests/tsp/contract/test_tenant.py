"""The document inside a sealed configuration: read strictly, because whoever can seal may send anything."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tsp.contract.draw import documents, json_values, often
from tsp.contract.tenant import Binding, Document, DocumentError, KmsBody, Leasing, SiemBody, dump, is_name, load

KMS = Document(
    Binding("vendor", "clinic-a", 7, "kms", 1, "", "2026-01-31T23:59:59.123Z", "ab" * 16),
    KmsBody("local", {"key_file": "/k", "note": "é"}, True, Leasing(True, 60, 0)),
)
SIEM = Document(
    Binding("vendor", "clinic-a", 8, "siem", 2, "cd" * 32, "2026-01-31T23:59:59Z", "ab" * 16),
    SiemBody("webhook", {"url": "https://siem.example", "secret": "s"}, "count"),
)


def changed(document: Document, path: str, value: Any) -> bytes:
    """The JSON of `document` with the member at `path` replaced, or removed when `value` is `...`."""
    whole: dict[str, Any] = json.loads(dump(document))
    *way, last = path.split(".")
    found = whole
    for step in way:
        found = found[step]
    if value is ...:
        del found[last]
    else:
        found[last] = value
    return json.dumps(whole).encode()


@often
@given(documents())
def test_reads_back_what_it_wrote(document: Document) -> None:
    assert load(dump(document)) == document
    assert dump(load(dump(document))) == dump(document)


@often
@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_raise_nothing_but_document_error(data: bytes) -> None:
    with pytest.raises(DocumentError):
        load(data)


@often
@given(documents(), st.data())
def test_any_member_of_any_other_type_raises_nothing_but_document_error(
    document: Document, data: st.DataObject
) -> None:
    whole = json.loads(dump(document))
    at = data.draw(st.sampled_from(sorted(whole)))
    whole[at] = data.draw(json_values)
    try:
        found = load(json.dumps(whole).encode())
    except DocumentError:
        return
    assert json.loads(dump(found)) == whole


@often
@given(documents(), st.data())
def test_a_cut_or_damaged_document_is_refused_or_different(document: Document, data: st.DataObject) -> None:
    """The box authenticates the bytes; the parser's part is to never fall over, and never to see the old content."""
    good = dump(document)
    with pytest.raises(DocumentError):
        load(good[: data.draw(st.integers(0, len(good) - 1))])
    at, bit = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 7))
    with contextlib.suppress(DocumentError):
        assert load(good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :]) != document


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", 2), ("format", True), ("format", "1"), ("format", ...), ("body", ...), ("body", []),
        ("vendor", ""), ("vendor", "a b"), ("tenant", "-a"), ("tenant", "a\n"), ("tenant", "é"), ("tenant", "a" * 65),
        ("tenant", 1), ("config", 0), ("config", 2**31), ("config", True), ("config", "7"), ("kind", "x"),
        ("kind", "siem"), ("kind", None), ("version", 0), ("version", 2), ("previous", "ab" * 32), ("previous", None),
        ("created", "yesterday"), ("created", "2026-01-31T23:59:59"), ("created", "2026-01-31T23:59:59+01:00"),
        ("created", "2026-13-31T23:59:59Z"), ("created", 1), ("tsp_key", "AB" * 16), ("tsp_key", ""), ("tsp_key", ...),
        ("extra", 1), ("body.extra", 1), ("body.provider", "Local"), ("body.provider", "../x"), ("body.options", []),
        ("body.options", None), ("body.primary", 1), ("body.primary", ...), ("body.leasing", None),
        ("body.leasing.enabled", 1), ("body.leasing.renew", 29), ("body.leasing.renew", 301),
        ("body.leasing.hold", 3601), ("body.leasing.hold", -1), ("body.leasing.hold", True), ("body.leasing.extra", 1),
        ("body.options.key_file", 1.0),
    ],
)  # fmt: skip
def test_refuses_a_kms_document(path: str, value: object) -> None:
    load(dump(KMS))
    with pytest.raises(DocumentError):
        load(changed(KMS, path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("body.when_full", "drop"),
        ("body.when_full", None),
        ("body.primary", True),
        ("previous", ""),
        ("previous", "cd" * 31),
    ],
)
def test_refuses_a_siem_document(path: str, value: object) -> None:
    load(dump(SIEM))
    with pytest.raises(DocumentError):
        load(changed(SIEM, path, value))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(dump(KMS).replace(b'"config":7', b'"config":7,"config":8'), id="a repeated member"),
        pytest.param(dump(KMS).replace(b'"key_file":"/k"', b'"key_file":"/k","key_file":"/x"'), id="repeated inside"),
        pytest.param(dump(KMS).replace(b'"/k"', b"NaN"), id="NaN"),
        pytest.param(dump(KMS).replace(b'"/k"', b"1e999"), id="a number that loads as Infinity"),
        pytest.param(dump(KMS).replace(b'"/k"', b"1.0"), id="a fraction"),
        pytest.param(dump(KMS).replace(b'"/k"', b'"\\ud800"'), id="a lone surrogate"),
        pytest.param(dump(KMS).replace(b'"/k"', b"9" * 5000), id="an endless number"),
        pytest.param(dump(KMS).decode().encode("utf-16"), id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf" + dump(KMS), id="a byte order mark"),
        pytest.param(dump(KMS) + b"{}", id="something after it"),
        pytest.param(b"[" * 100_000, id="nested without end"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_refuses_other_json(data: bytes) -> None:
    with pytest.raises(DocumentError):
        load(data)


def test_an_error_names_the_member_and_never_a_value() -> None:
    with pytest.raises(DocumentError) as caught:
        load(changed(KMS, "tsp_key", "hunter2"))
    assert "tsp_key" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_options_do_not_print() -> None:
    assert "https" not in repr(SIEM)
    assert "/k" not in repr(KMS)


@pytest.mark.parametrize("text", ["a", "A.b_c-9", "0", "a" * 64])
def test_takes_names(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.", "-a", "a/b", "a b", "a\n", "ä", "a\0", "a" * 65, None, 1, b"a", ["a"]]
)
def test_refuses_names(text: object) -> None:
    """Names become file names, Redis keys and URL parts: no separators, no control characters, no folding."""
    assert not is_name(text)
