"""Middleware: the tenant and the facts of each request. Works in WSGI and ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack, nullcontext
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponseBase
from django.utils.module_loading import import_string

from encrypted_fields.reuse import reuse_keys
from encrypted_fields.tenancy import MOST_REASON, acting, tenant

MOST = 200  # characters of a caller's own request id that are passed on


class CmkMiddleware:
    """Activates the tenant that CMK_TENANT_FROM_REQUEST (a dotted path: request → name or None) finds, and notes who
    asks (CMK_REQUESTING_ID_FROM_REQUEST, the same), why (CMK_REASON_FROM_REQUEST, the same), from which address, under
    which request id (X-Request-ID).
    With CMK_REUSE_KEYS = {"seconds": …, "uses": …} a request keeps the keys that it was given, as `reuse_keys` does.

    Put it after the middleware that the two functions rely on. Behind a proxy, REMOTE_ADDR is the proxy's unless
    something before this middleware corrects it: a header that anybody can send is never believed.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._tenant_of = _function("CMK_TENANT_FROM_REQUEST")
        self._requesting = _function("CMK_REQUESTING_ID_FROM_REQUEST")
        self._reason = _function("CMK_REASON_FROM_REQUEST")
        self._reuse: dict[str, Any] | None = getattr(settings, "CMK_REUSE_KEYS", None)
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._acall(request)
        with self._contexts(request), self._kept():
            response: HttpResponseBase = self._get_response(request)
            return response

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        with self._contexts(request):
            async with self._kept():
                response: HttpResponseBase = await self._get_response(request)
                return response

    def _kept(self) -> Any:
        return nullcontext() if self._reuse is None else reuse_keys(**self._reuse)

    def _contexts(self, request: HttpRequest) -> ExitStack:
        stack = ExitStack()
        name = self._tenant_of(request) if self._tenant_of else None
        if name is not None:
            stack.enter_context(tenant(name))
        who = self._requesting(request) if self._requesting else None
        why = self._reason(request) if self._reason else None
        stack.enter_context(
            acting(
                None if who is None else str(who),
                source_ip=request.META.get("REMOTE_ADDR") or None,
                request_id=request.headers.get("X-Request-ID", "")[:MOST] or None,
                reason=None if why is None else str(why)[:MOST_REASON],
            )
        )
        return stack


def _function(name: str) -> Callable[[HttpRequest], Any] | None:
    path = getattr(settings, name, None)
    if path is None:
        return None
    found: Any = import_string(path) if isinstance(path, str) else path
    if not callable(found):
        raise ImproperlyConfigured(f"{name} must name a function that takes the request")
    return found  # type: ignore[no-any-return]
