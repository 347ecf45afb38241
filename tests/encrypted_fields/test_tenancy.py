"""The active tenant and the facts of a request, through middleware, threads and tasks."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory, RequestFactory, override_settings

from encrypted_fields import acting, current_tenant, tenant
from encrypted_fields.middleware import CmkMiddleware
from encrypted_fields.tenancy import metadata

SETTINGS = {
    "CMK_TENANT_FROM_REQUEST": "tests.encrypted_fields.test_tenancy.tenant_of",
    "CMK_REQUESTING_ID_FROM_REQUEST": "tests.encrypted_fields.test_tenancy.user_of",
}


def tenant_of(request: HttpRequest) -> str | None:
    return request.headers.get("X-Tenant")


def user_of(request: HttpRequest) -> int | None:
    return 7 if "X-Tenant" in request.headers else None


def seen(request: HttpRequest) -> HttpResponse:
    about = metadata("any", "label", None)
    return HttpResponse(f"{current_tenant()} {about.requesting_id} {about.source_ip} {about.request_id}")


def test_blocks_nest_and_end() -> None:
    assert current_tenant() is None
    with tenant("north"):
        with tenant("south"):
            assert current_tenant() == "south"
        with pytest.raises(KeyError), tenant("south"):
            raise KeyError
        assert current_tenant() == "north"
    assert current_tenant() is None


@override_settings(**SETTINGS)
def test_the_middleware_activates_the_requests_tenant_and_facts() -> None:
    call: Any = CmkMiddleware(seen)
    request = RequestFactory().get("/", headers={"X-Tenant": "north", "X-Request-ID": "r" * 500})
    assert call(request).content.decode() == f"north 7 127.0.0.1 {'r' * 200}"
    assert call(RequestFactory().get("/")).content.decode() == "None tests 127.0.0.1 None"
    assert current_tenant() is None


@override_settings(**SETTINGS)
async def test_the_middleware_works_in_asgi_and_requests_do_not_mix() -> None:
    async def slow(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0.01)
        return seen(request)

    call: Any = CmkMiddleware(slow)
    requests = [AsyncRequestFactory().get("/", headers={"X-Tenant": f"t{n}"}) for n in range(20)]
    found = await asyncio.gather(*(call(request) for request in requests))
    assert [one.content.decode().split()[0] for one in found] == [f"t{n}" for n in range(20)]


def test_an_error_in_the_view_ends_the_tenant() -> None:
    def broken(request: HttpRequest) -> HttpResponse:
        assert current_tenant() == "north"
        raise KeyError

    with override_settings(CMK_TENANT_FROM_REQUEST=lambda request: "north"):
        call: Any = CmkMiddleware(broken)
    with pytest.raises(KeyError):
        call(RequestFactory().get("/"))
    assert current_tenant() is None


def test_a_setting_that_is_no_function_is_named() -> None:
    with (
        override_settings(CMK_TENANT_FROM_REQUEST="encrypted_fields.tenancy.__name__"),
        pytest.raises(ImproperlyConfigured, match="CMK_TENANT_FROM_REQUEST"),
    ):
        CmkMiddleware(seen)


def test_threads_do_not_share_a_tenant() -> None:
    found = []
    with tenant("north"), acting("user-1"):
        thread = threading.Thread(target=lambda: found.append(current_tenant()))
        thread.start()
        thread.join()
    assert found == [None]
