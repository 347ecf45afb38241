"""When the key service or the proxy does not answer, staff get a page that says so, with 503, and no half-read rows."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from encrypted_fields.core.errors import CmkError

RETRY = "The clinic's key service does not answer at the moment. Nothing was lost; please try again."


class OutagePage:
    """Middleware: an error that may pass is told as such; all others stay what they are."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, CmkError) or not exception.retryable:
            return None
        return render(request, "clinic/withdrawn.html", {"notice": RETRY}, status=503)
