"""Reading JSON from strangers: so much and no more, and nothing that is not JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

MAX_BODY = 8 * 1024 * 1024  # a report on 50,000 configurations; a sealed record has at most 1.4 MB


class TooLarge(APIException):
    status_code = 413


class CappedJson(BaseParser):
    """UTF-8 JSON of at most 8 MiB, without NaN, repeated members or endless nesting."""

    media_type = "application/json"

    def parse(self, stream: IO[Any], media_type: str | None = None, context: Mapping[str, Any] | None = None) -> Any:
        data = stream.read(MAX_BODY + 1)
        if len(data) > MAX_BODY:
            raise TooLarge
        try:
            return json.loads(data, object_pairs_hook=_once, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise ParseError from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is repeated")
    return found


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")
