"""The same leased wrap as a Django REST framework view, one gunicorn process with threads: what a team would write.

It has what the proxy's wrap has: an API key compared in constant time, a checked body, a key under the leased key, an
event on disk before the reply. Without Django's middleware, sessions or database, and nobody ships its events.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.urls import path

from encrypted_fields.core.memory import SecretBytes
from tests.support.sandbox import API_KEY
from tsp import edek
from tsp.audit.store import Store
from tsp.auth import ApiKeys
from tsp.contract import events
from tsp.contract.events import AuditEvent
from tsp.contract.tenant import Leasing
from tsp.leases.lease import Lease

THREADS = 4  # more are slower here
VENDOR, TENANT, CONFIG = "sandbox", "a", 11
urlpatterns: list[Any] = []


def application() -> Any:
    """The WSGI application."""
    settings.configure(
        ROOT_URLCONF="bench.drf",
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=[],
        SECRET_KEY="bench",
        INSTALLED_APPS=["rest_framework"],
        REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},
    )
    django.setup()
    _add_view()
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


def _add_view() -> None:
    from rest_framework import serializers
    from rest_framework.authentication import BaseAuthentication
    from rest_framework.parsers import JSONParser
    from rest_framework.permissions import BasePermission
    from rest_framework.renderers import JSONRenderer
    from rest_framework.request import Request
    from rest_framework.response import Response
    from rest_framework.views import APIView

    from encrypted_fields.core import protocol

    keys, lock = ApiKeys(API_KEY), threading.Lock()
    store = Store(Path(tempfile.mkdtemp(prefix="cmk-bench-")), max_bytes=2**40, segment_bytes=2**22)
    lek = os.urandom(32)
    elek = edek.direct(lek, edek.KeyContext(VENDOR, TENANT, CONFIG, "lek"), os.urandom(61))
    lease = Lease(VENDOR, TENANT, CONFIG, elek, SecretBytes.take(lek), Leasing(enabled=True))

    class Key(BaseAuthentication):
        def authenticate(self, request: Request) -> tuple[Any, Any]:
            return keys.check(request.META.get("HTTP_AUTHORIZATION", "").encode()), None

    class Known(BasePermission):
        def has_permission(self, request: Request, view: Any) -> bool:
            return request.user is not None

    class Fields(serializers.Serializer[Any]):
        requestingId = serializers.CharField(max_length=1024)  # noqa: N815  the wire's name
        dataLabel = serializers.CharField(max_length=1024, required=False)  # noqa: N815
        objectId = serializers.CharField(max_length=1024, required=False)  # noqa: N815
        requestId = serializers.CharField(max_length=1024, required=False)  # noqa: N815

    class Body(serializers.Serializer[Any]):
        tenantId = serializers.CharField(max_length=1024)  # noqa: N815
        iclFields = Fields()  # noqa: N815
        customFields = serializers.DictField(child=serializers.CharField())  # noqa: N815

    class Wrap(APIView):
        authentication_classes = (Key,)
        permission_classes = (Known,)
        parser_classes = (JSONParser,)
        renderer_classes = (JSONRenderer,)

        def post(self, request: Request) -> Response:
            asked = Body(data=request.data)
            asked.is_valid(raise_exception=True)
            icl, dek = asked.validated_data["iclFields"], os.urandom(32)
            wrapped, content = lease.wrap(dek)
            event = AuditEvent(
                id=events.new_id(), time=events.timestamp(), vendor=VENDOR, tenant=TENANT, action=events.WRAP,
                outcome=events.SUCCESS, requesting_id=icl["requestingId"], data_label=icl.get("dataLabel", ""),
                object_id=icl.get("objectId", ""), request_id=icl.get("requestId", ""), config=CONFIG, leased=True,
                edek=edek.fingerprint(content),
            )  # fmt: skip
            with lock:
                store.append([(TENANT, events.dump(event))])
            return Response({"dek": protocol.encode(dek), "edek": protocol.encode(wrapped)})

    urlpatterns.append(path("api/1/document/wrap", Wrap.as_view()))


def command(port: int) -> list[str]:
    """Starts it."""
    return [
        sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--workers", "1",
        "--threads", str(THREADS), "--keep-alive", "75", "--log-level", "warning", "bench.drf:application()",
    ]  # fmt: skip
