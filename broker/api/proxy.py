"""What proxies ask and say: the feed of sealed records, and the report of what became of them."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any

from django.db.models import Max, OuterRef, QuerySet, Subquery
from django.http import HttpResponse
from django.utils.http import parse_etags
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from broker.api.errors import BadShape
from broker.api.tokens import IsProxy, ServiceTokens
from broker.models import Config, ConfigVersion, ServiceToken, Tenant, Vendor
from broker.services import Actor, record_status
from broker.services.proxies import Result
from tsp.contract.tenant import MAX_CONFIG, is_name

PAGE = 500
MAX_RESULTS = 50_000
_log = logging.getLogger("broker.proxy")


class ProxyView(APIView):
    """A view for the holder of a service token; it sees that token's vendor and no other."""

    authentication_classes = (ServiceTokens,)
    permission_classes = (IsProxy,)

    @property
    def token(self) -> ServiceToken:
        token = self.request.auth
        if not isinstance(token, ServiceToken):
            raise TypeError("a proxy view was reached without a token")
        return token


class Feed(ProxyView):
    """GET ?after=N: sealed records in order of their sequence, at most 500.

    after=0: the latest record of each configuration. after=N: every record with a sequence above N, so that a proxy can
    follow the chain of hashes. `disabled` lists the configurations that are switched off,
    `leasing_required` the tenants whose new key configurations must be leased. ETag and 304.
    """

    def get(self, request: Request) -> HttpResponse:
        after = _after(request.query_params.get("after", "0"))
        vendor = self.token.vendor
        tag = _tag(vendor, after)
        if tag in parse_etags(request.headers.get("If-None-Match", "")):
            response = HttpResponse(status=304)
        else:
            rows = list(_records(vendor, after)[: PAGE + 1])
            found = {
                "vendor": vendor.name,
                "records": [_record(row) for row in rows[:PAGE]],
                "disabled": list(_disabled(vendor)),
                "leasing_required": list(_leasing_required(vendor)),
                "more": len(rows) > PAGE,
            }
            response = HttpResponse(json.dumps(found, separators=(",", ":")), content_type="application/json")
        response["ETag"] = tag
        response["Cache-Control"] = "private, no-cache"
        return response


class Status(ProxyView):
    """POST {"tsp", "version", "keys", "results"}: 204. Results for another vendor's configuration are left out."""

    def post(self, request: Request) -> Response:
        body = request.data
        if not isinstance(body, dict):
            raise BadShape("the body must be an object")
        unknown = record_status(
            vendor=self.token.vendor,
            proxy=_text(body, "tsp", 100),
            version=_text(body, "version", 32),
            keys=_keys(body.get("keys")),
            results=_results(body.get("results")),
            by=Actor(f"proxy:{body['tsp']}", address=request.META.get("REMOTE_ADDR") or None),
        )
        if unknown:
            _log.warning("a proxy reported %d configurations that are not its vendor's", unknown)
        return Response(status=204)


def _after(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadShape("'after' must be a sequence number or 0")
    return int(text)


def _records(vendor: Vendor, after: int) -> QuerySet[ConfigVersion]:
    rows = ConfigVersion.objects.filter(config__tenant__vendor=vendor, sequence__gt=after)
    if not after:
        newest = ConfigVersion.objects.filter(config=OuterRef("config")).order_by("-version").values("pk")[:1]
        rows = rows.filter(pk=Subquery(newest))
    return rows.select_related("config__tenant").order_by("sequence")


def _disabled(vendor: Vendor) -> QuerySet[Config, int]:
    off = Config.objects.filter(tenant__vendor=vendor, enabled=False)
    return off.order_by("number").values_list("number", flat=True)


def _leasing_required(vendor: Vendor) -> QuerySet[Tenant, str]:
    return Tenant.objects.filter(vendor=vendor, leasing_required=True).order_by("name").values_list("name", flat=True)


def _tag(vendor: Vendor, after: int) -> str:
    # versions are only ever added, so the last sequence number and the switches tell every state apart
    last = ConfigVersion.objects.filter(config__tenant__vendor=vendor).aggregate(last=Max("sequence"))["last"]
    state = json.dumps([vendor.name, after, last, list(_disabled(vendor)), list(_leasing_required(vendor))])
    return f'"{hashlib.sha256(state.encode()).hexdigest()[:32]}"'


def _record(row: ConfigVersion) -> dict[str, Any]:
    """The JSON form of tsp.contract.sealed.Record, without decoding and encoding its boxes."""
    return {
        "tenant": row.config.tenant.name,
        "config": row.config_id,
        "kind": row.config.kind,
        "version": row.version,
        "boxes": row.boxes,
        "sequence": row.sequence,
    }


def _text(body: dict[str, Any], name: str, most: int) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable():
        raise BadShape(f"'{name}' must be a text of 1 to {most} characters")
    return value


def _keys(found: object) -> list[str]:
    if not isinstance(found, list) or len(found) > 64 or not all(_is_key_id(key) for key in found):
        raise BadShape("'keys' must be a list of at most 64 key ids")
    return found


def _is_key_id(key: object) -> bool:
    return isinstance(key, str) and len(key) == 32 and set(key) <= set("0123456789abcdef")


def _results(found: object) -> list[Result]:
    if not isinstance(found, list) or len(found) > MAX_RESULTS:
        raise BadShape(f"'results' must be a list of at most {MAX_RESULTS}")
    return [_result(item) for item in found]


def _result(item: object) -> Result:
    if not isinstance(item, dict):
        raise BadShape("a result must be an object")
    reason = item.get("reason", "")
    fine = {
        "tenant": is_name(item.get("tenant")),
        "config": _number(item.get("config")),
        "version": _number(item.get("version")),
        "state": item.get("state") in ("active", "refused"),
        "reason": isinstance(reason, str) and len(reason) <= 200 and (not reason or reason.isprintable()),
    }
    for name, right in fine.items():
        if not right:
            raise BadShape(f"a result's '{name}' is not valid")
    return Result(item["tenant"], item["config"], item["version"], item["state"], reason)


def _number(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_CONFIG
