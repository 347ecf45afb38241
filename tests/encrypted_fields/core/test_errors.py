"""The tree of errors: one code a class, and a reply from the wire is never more than it says."""

from __future__ import annotations

import pickle

import pytest

from encrypted_fields.core import errors
from encrypted_fields.core.errors import CmkError, from_code

# wire.md section 4.2: code → HTTP status, as the README of the wire API promises it
TABLE = {
    101: 401, 102: 400, 200: 422, 201: 422, 202: 422, 203: 422, 204: 502, 205: 422,
    206: 422, 207: 422, 208: 503, 209: 429, 210: 422, 301: 422, 401: 500,
}  # fmt: skip

CLASSES = [cls for cls in errors._all(CmkError) if cls.__module__ == errors.__name__]


@pytest.mark.parametrize(("code", "http"), TABLE.items())
def test_each_code_of_the_wire_has_its_class_and_status(code: int, http: int) -> None:
    error = from_code(code, "why")
    assert type(error) is not CmkError
    assert (error.code, error.http, str(error)) == (code, http, "why")


def test_the_wire_knows_no_other_codes() -> None:
    assert set(errors.BY_CODE) == set(TABLE)


def test_only_a_401_is_unauthorized_and_it_is_always_101() -> None:
    """Rule 10: one client turns any 401 into "unauthorized" without reading the body."""
    assert [cls for cls in CLASSES if cls.http == 401] == [errors.Unauthorized]


@pytest.mark.parametrize("code", [0, 1, 199, 211, 299, 300, 302, 902, 999, 65_535])
def test_an_unknown_or_local_code_is_no_promise(code: int) -> None:
    """Neither "try again" nor "refused" nor "your data is damaged" on the word of a server that may not say it."""
    error = from_code(code, "x")
    assert type(error) is CmkError
    assert not error.retryable


def test_code_100_is_told_apart_by_its_status() -> None:
    assert type(from_code(100, "x", 503)) is errors.AuditUnavailable
    assert type(from_code(100, "x", 429)) is errors.Overloaded
    assert type(from_code(100, "x", 500)) is CmkError


def test_only_what_can_pass_by_itself_is_retryable() -> None:
    found = {cls.__name__ for cls in CLASSES if cls.retryable}
    assert found == {"AuditUnavailable", "Overloaded", "TspUnreachable", "KmsUnreachable", "KmsThrottled"}


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_has_words_and_travels_between_processes(cls: type[CmkError]) -> None:
    error = cls()
    assert error.message
    assert str(pickle.loads(pickle.dumps(error))) == error.message
