"""What the sealing page asks: the form to draw, the number to bind to, where the record goes, what became of it."""

from __future__ import annotations

import base64
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import Http404
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from broker.api.errors import BadShape
from broker.errors import NotARecord
from broker.models import Config, ProxyKey, Tenant
from broker.permissions import tenant_for
from broker.services import Actor, allocate_config, draft, publish_record
from broker.verdict import standings
from tsp import catalog
from tsp.contract import sealed
from tsp.contract.tenant import HOLD_SECONDS, MAX_CONFIG, RENEW_SECONDS, DocumentError, Kind


class TenantView(APIView):
    """A view for a person who is signed in; each method asks the table for the tenant."""

    authentication_classes = (SessionAuthentication,)
    permission_classes = (IsAuthenticated,)


class Form(TenantView):
    """GET: everything the page needs to draw and to seal."""

    def get(self, request: Request, tenant: UUID, kind: Kind) -> Response:
        found = tenant_for(request.user, tenant, "config.seal")
        return Response(
            {
                "vendor": found.vendor.name,
                "tenant": found.name,
                "kind": kind,
                "keys": [_key(key) for key in found.vendor.proxy_keys.filter(state="active")],
                "providers": providers(kind),
                "leasing": {"renew": RENEW_SECONDS, "hold": HOLD_SECONDS},
            }
        )


class Draft(TenantView):
    """POST {"config": number or null, "label"}: {"config", "version", "previous"} that the next record is bound to."""

    def post(self, request: Request, tenant: UUID, kind: Kind) -> Response:
        found = tenant_for(request.user, tenant, "config.seal")
        number, label = _draft_shape(request.data)
        if number is None:
            config = allocate_config(tenant=found, kind=kind, label=label, by=Actor.of(request._request))
        else:
            config = _config(found, number, kind)
        following = draft(config)
        return Response({"config": following.config, "version": following.version, "previous": following.previous})


class Records(TenantView):
    """POST a sealed record (docs/formats.md section 5): 201 {"config", "version", "hash"}."""

    def post(self, request: Request, tenant: UUID) -> Response:
        found = tenant_for(request.user, tenant, "config.seal")
        try:
            record = sealed.load(request.data)
        except DocumentError as error:
            raise NotARecord(str(error)) from None
        made = publish_record(tenant=found, record=record, by=Actor.of(request._request))
        return Response({"config": made.config_id, "version": made.version, "hash": made.hash}, status=201)


class Status(TenantView):
    """GET: what the proxies say of a configuration's newest version."""

    def get(self, request: Request, tenant: UUID, number: int) -> Response:
        found = tenant_for(request.user, tenant, "tenant.see")
        standing = standings(found.vendor, [_config(found, number)])[0]
        verdict = standing.verdict
        return Response(
            {
                "config": number,
                "version": standing.version,
                "state": verdict.state,
                "headline": verdict.headline,
                "advice": verdict.advice,
                "reason": verdict.reason,
            }
        )


def providers(kind: Kind) -> list[dict[str, Any]]:
    """The catalogue's forms; the development key service only where the proxy takes it."""
    return [form for form in catalog.forms(kind) if form["kind"] != "local" or settings.TSP_ALLOW_LOCAL_KMS]


def _key(key: ProxyKey) -> dict[str, str]:
    return {"id": key.key, "label": key.label, "public_key": base64.b64encode(bytes(key.public_key)).decode()}


def _draft_shape(body: object) -> tuple[int | None, str]:
    if not isinstance(body, dict) or "config" not in body:
        raise BadShape("the body must be an object with 'config': a configuration number, or null for a new one")
    number, label = body["config"], body.get("label", "")
    if number is not None and (type(number) is not int or not 1 <= number <= MAX_CONFIG):
        raise BadShape("'config' must be a configuration number or null")
    if not isinstance(label, str) or len(label) > 100 or (label and not label.isprintable()):
        raise BadShape("'label' must be a text of at most 100 characters")
    return number, label


def _config(tenant: Tenant, number: int, kind: Kind | None = None) -> Config:
    found = Config.objects.filter(tenant=tenant, number=number).first()
    if found is None or kind not in (None, found.kind):
        raise Http404
    return found
