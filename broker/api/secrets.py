"""Tenant secrets for proxies: find those of a place, or leave a new one. The portal moves ciphertext only."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.utils import timezone
from django.utils.http import parse_etags
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from broker.api.errors import BadShape
from broker.api.proxy import ProxyView
from broker.errors import UnknownTenant
from broker.models import Tenant
from broker.permissions import vendor_for
from broker.rotation import standing
from broker.services import Actor, export_secrets, keep_secret
from tsp.contract.secrets import TYPES, is_path, place_of
from tsp.contract.tenant import MAX_CONFIG, is_name


class Secrets(ProxyView):
    """GET ?tenant=&place=: {"secrets": [{"id", "wrapped", "current"}], "wanting"}; ETag and 304.

    POST {"tsp", "tenant", "type", "path", "config", "wrapped"}: the same of its place; 201, or 200 when another proxy
    was faster and what was sent is not kept.
    """

    def get(self, request: Request) -> HttpResponse:
        place = request.query_params.get("place", "")
        if len(place) != 64 or not set(place) <= set("0123456789abcdef"):
            raise BadShape("'place' must be 64 hex digits")
        tenant = self._tenant(request.query_params.get("tenant"))
        return _reply(tenant, place, request.headers.get("If-None-Match", ""))

    def post(self, request: Request) -> HttpResponse:
        body = request.data
        if not isinstance(body, dict):
            raise BadShape("the body must be an object")
        kind, path, config, name = (body.get(member, "") for member in ("type", "path", "config", "tsp"))
        fine = {
            "tsp": isinstance(name, str) and 0 < len(name) <= 100 and name.isprintable(),
            "type": kind in TYPES,
            "path": is_path(path),
            "config": type(config) is int and 1 <= config <= MAX_CONFIG,
        }
        for member, right in fine.items():
            if not right:
                raise BadShape(f"'{member}' is not valid")
        tenant = self._tenant(body.get("tenant"))
        by = Actor(f"proxy:{name}", address=request.META.get("REMOTE_ADDR") or None)
        wrapped = _bytes(body.get("wrapped"))
        new = keep_secret(tenant=tenant, config=config, kind=kind, path=path, wrapped=wrapped, by=by)
        return _reply(tenant, place_of(kind, path), status=201 if new else 200)

    def _tenant(self, name: object) -> Tenant:
        if not is_name(name):
            raise BadShape("'tenant' must be a tenant's name")
        found = Tenant.objects.select_related("vendor").filter(vendor=self.token.vendor, name=name).first()
        if found is None:
            raise UnknownTenant()
        return found


class Backup(APIView):
    """GET: every wrapped secret of the vendor, as a file for its operator. Only key services can open what is in it."""

    authentication_classes = (SessionAuthentication,)
    permission_classes = (IsAuthenticated,)

    def get(self, request: Request, vendor: UUID) -> Response:
        found = vendor_for(request.user, vendor, "secrets.back_up")
        backup = export_secrets(vendor=found, by=Actor.of(request._request))
        name = f"secrets-{found.name}-{timezone.now():%Y%m%d-%H%M}.json"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        return Response(backup, headers=headers)


def _reply(tenant: Tenant, place: str, known: str = "", status: int = 200) -> HttpResponse:
    found = standing(tenant, place)
    rows = [
        {"id": row.number, "wrapped": base64.b64encode(bytes(row.wrapped)).decode(), "current": at == 0}
        for at, row in enumerate(found.secrets)
    ]
    body = json.dumps({"secrets": rows, "wanting": found.wanting}, separators=(",", ":")).encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    same = tag in parse_etags(known)
    response = HttpResponse(status=304) if same else HttpResponse(body, "application/json", status)
    response["ETag"] = tag
    response["Cache-Control"] = "private, no-cache"
    return response


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) and len(text) < 8192 else b""
    except (binascii.Error, ValueError):
        return b""
