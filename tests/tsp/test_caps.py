"""What a body may be: size, depth, strings, and each member once. T-14."""

from __future__ import annotations

import json
import resource
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encrypted_fields.core.errors import InvalidRequest
from tests.tsp.doubles import World, call, request
from tsp import caps, wire

TEXT = st.text(alphabet=st.sampled_from('ab"\\{}[]:,() é\n/'), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=30,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def strings(value: Any) -> int:
    if isinstance(value, dict):
        return sum(1 + strings(one) for one in value.values())
    return sum(map(strings, value)) if isinstance(value, list) else isinstance(value, str)


@given(st.dictionaries(TEXT, JSON, max_size=5), st.sampled_from([None, 1]), st.booleans())
def test_what_strings_hold_is_no_structure(value: Any, indent: int | None, ascii_only: bool) -> None:
    """Any value within the caps passes, above them does not, however it is written."""
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    caps.unique(body, 0)
    if depth(value) > caps.MAX_DEPTH:
        with pytest.raises(InvalidRequest, match="8 levels"):
            caps.check(body, 1000)
    else:
        caps.check(body, 1000)


@given(st.lists(TEXT | st.dictionaries(TEXT, TEXT, max_size=3), max_size=12))
def test_strings_are_counted_exactly_at_the_cap(value: Any) -> None:
    count = strings(value)
    body = json.dumps(value).encode()
    caps.check(body, max(count, len(value), 12 * 4))
    if count > 13:
        with pytest.raises(InvalidRequest, match="more than 12"):
            caps.check(body, 12)


@given(st.dictionaries(TEXT, JSON, min_size=1, max_size=4), st.data())
def test_a_member_that_is_there_twice_is_refused(value: dict[str, Any], data: st.DataObject) -> None:
    """However the second one is spelled, and at whatever depth it is."""
    name = data.draw(st.sampled_from(sorted(value)))
    spelled = data.draw(st.sampled_from([json.dumps(name), '"' + "".join(f"\\u{ord(one):04x}" for one in name) + '"']))
    body = json.dumps(value)[:-1] + f", {spelled}: 1}}"
    for outer in (body, f'{{"x": {body}}}', f'{{"x": [0, {body}]}}'):
        with pytest.raises(InvalidRequest, match="twice"):
            caps.unique(outer.encode(), 0)


def _some(name: str, value: st.SearchStrategy[str], least: int = 0) -> st.SearchStrategy[list[str]]:
    """A member `least` times to twice, its name spelled in two ways; null, too, if it may be absent."""
    spelled = st.sampled_from([json.dumps(name), f'"\\u{ord(name[0]):04x}{name[1:]}"'])
    return st.lists(st.builds("{}:{}".format, spelled, value), min_size=least, max_size=2)


def _object(*members: st.SearchStrategy[list[str]]) -> st.SearchStrategy[str]:
    return st.tuples(*members).map(lambda found: "{" + ",".join(chain(*found)) + "}")


WORD, NULL = TEXT.map(json.dumps), st.just("null")
NAMED = st.sampled_from(['"u"', '":"', '"\\u003a"'])
ICL = _object(_some("requestingId", NAMED, 1), _some("dataLabel", WORD | NULL), _some("objectId", WORD | NULL))
MAP = _object(_some("k", WORD), _some("l", WORD))
BODY = _object(
    _some("tenantId", NAMED, 1), _some("iclFields", ICL, 1), _some("customFields", MAP | NULL),
    _some("edeks", MAP, 1), _some("other", WORD | MAP | NULL),
)  # fmt: skip


def _twice(body: str) -> bool:
    """Whether any object in it has a name twice, as Python's own parser sees it."""
    seen: list[bool] = []
    json.loads(body, object_pairs_hook=lambda found: seen.append(len(found) != len(dict(found))))
    return any(seen)


@given(BODY)
@settings(max_examples=1_000)
def test_a_count_of_what_is_known_is_no_way_past_it(body: str) -> None:
    """The short way of `unique`: unknown and null members, escapes and colons in strings make up for no repetition."""
    parsed = wire.decoder(wire.BatchUnwrap).decode(body)
    known = wire.members(parsed)
    if _twice(body):
        with pytest.raises(InvalidRequest, match="twice"):
            caps.unique(body.encode(), known)
    else:
        caps.unique(body.encode(), known)


@pytest.mark.parametrize(
    "body",
    [
        b'{"tenantId": "a", "iclFields": {"requestingId": "u"}, "tenantId": "b"}',
        b'{"tenantId": "a", "iclFields": {"requestingId": "u"}, "tenant\\u0049d": "b"}',
        b'{"tenantId": "a", "iclFields": {"requestingId": "u", "requestingId": "v"}}',
        b'{"tenantId": "a", "iclFields": {"requestingId": "u"}, "customFields": {"k": "1", "k": "2"}}',
        b'{"tenantId": "a", "iclFields": {"requestingId": "u"}, "other": {"k": 1, "k": 2}}',
        b'{"tenantId": "a", "iclFields": {"requestingId": "u"}, "other": NaN}',
        b'{"tenantId": "a", "iclFields": {"requestingId": "u"}, "other": -Infinity}',
        b'{"tenantId": "a", "iclFields": {"requestingId": "u"}, "other": ' + b"[" * 8 + b"]" * 8 + b"}",
        b'{"tenantId": "a", "iclFields": {"requestingId": "u"}, "other": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"tenantId": "a", "iclFields": {"requestingId": "u"}, "other": [' + b'"",' * 2000 + b"0]}",
        b'{"tenantId": "a", "iclFields": {"requestingId": "u"}, "other": [' + b"0," * 2001 + b"0]}",
    ],
    ids=lambda body: body[-30:].decode(),
)
async def test_such_a_body_is_refused_and_nothing_is_recorded(direct: World, body: bytes) -> None:
    answer = await call(direct.plane.app, "document/wrap", body)
    assert (answer.status, answer.json()["code"]) == (400, 102)
    assert direct.trail.events == []
    assert direct.kms().adapter.calls == []


async def test_a_single_call_is_short_and_a_batch_long(direct: World) -> None:
    """1 MiB and 8 MiB."""
    body = json.dumps(request(other="x" * 1_048_576)).encode()
    assert (await call(direct.plane.app, "document/wrap", body)).status == 413
    assert (await call(direct.plane.app, "document/batch-wrap", body)).status == 400  # no documentIds: it was read
    batch = json.dumps(request(documentIds=["x"], other="x" * 1_048_576)).encode()
    assert (await call(direct.plane.app, "document/batch-wrap", batch)).status == 200


@pytest.mark.parametrize(
    "part", [b"[", b'{"a":', b'"', b'\\"', b"\\", b"[],", b'"",', b"1.5,", b"(", b":", b"{}", b'{"":[],"'], ids=repr
)
async def test_eight_mebibytes_of_anything_cost_little(direct: World, part: bytes) -> None:
    """T-14: less than 50 MiB above the body itself and its copies, and an answer."""
    body = b'{"tenantId":"a","iclFields":{"requestingId":"u"},"documentIds":[],"other":['
    body += part * ((caps.BATCH_BYTES - len(body)) // len(part))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = await call(direct.plane.app, "document/batch-wrap", body)
    assert (answer.status, answer.json()["code"]) == (400, 102)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024
