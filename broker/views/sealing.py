"""The page on which a tenant's admin seals. It is the same for everybody; what is typed into it never comes here."""

from __future__ import annotations

from uuid import UUID

from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from broker.permissions import may, roles_at, tenant_for
from broker.views.page import tenant_page
from broker.views.tenant import standing_of

# libsodium is WebAssembly; this lets it be compiled, and permits no eval() of text
_WASM = {"script-src": "'wasm-unsafe-eval'"}


@require_safe
@csp_update(_WASM)  # type: ignore[arg-type]  # its stub knows no arguments
def sealing(request: HttpRequest, tenant: UUID, kind: str) -> HttpResponse:
    """How the tenant's configurations of one kind stand, and the form that seals the next version."""
    found = tenant_for(request.user, tenant, "config.see")
    keys = found.vendor.proxy_keys.filter(state="active")
    seals = may(roles_at(request.user, found), "config.seal")
    context = {"kind": kind, "standings": standing_of(found, kind), "keys": keys, "seals": seals}
    return tenant_page(request, "broker/sealing.html", found, **context)
