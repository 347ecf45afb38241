"""How the API says no: {"error": word, "message": sentence}, and never what was sent."""

from __future__ import annotations

from typing import Any

from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from broker.errors import BrokerRefused

_WORDS = {
    400: ("bad_request", "the request body is not valid"),
    401: ("unauthorized", "missing, wrong or revoked token: send 'Authorization: Bearer <service token>'"),
    403: ("forbidden", "you may not do this; if you just signed in, reload the page"),
    404: ("not_found", "there is no such thing here"),
    405: ("method_not_allowed", "this address does not take that method"),
    413: ("too_large", "the request is too large"),
    415: ("not_json", "send JSON with Content-Type: application/json"),
    429: ("slow_down", "too many requests; try again later"),
}


class BadShape(exceptions.APIException):
    """A member of the body is missing or not what it should be; the message names the member."""

    status_code = 400


def reply(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: our words for every refusal; None (a 500) for what nobody foresaw."""
    if isinstance(error, BrokerRefused):
        return Response({"error": error.reason, "message": error.message}, status=error.http)
    response = exception_handler(error, context)
    if response is None:
        return None
    word, message = _WORDS.get(response.status_code, ("refused", "the request was refused"))
    if isinstance(error, BadShape):
        message = str(error.detail)
    response.data = {"error": word, "message": message}
    return response
