"""How a proxy proves who it is: a bearer token, of which the portal keeps a digest only."""

from __future__ import annotations

import hmac
from uuid import UUID

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from broker.models import ServiceToken
from broker.services.proxies import PREFIX, digest

_NO_DIGEST = bytes(32)


class ProxyUser:
    """Stands for a proxy where DRF expects a user; it is nobody in the pages."""

    is_authenticated = False
    is_active = False


class ServiceTokens(BaseAuthentication):
    """`Authorization: Bearer cmkp.<id>.<secret>`; an unknown id takes the same comparison as a wrong secret."""

    def authenticate(self, request: Request) -> tuple[ProxyUser, ServiceToken] | None:
        parts = get_authorization_header(request).split()
        if not parts:
            return None
        if len(parts) != 2 or parts[0].lower() != b"bearer":
            raise AuthenticationFailed
        prefix, _, rest = parts[1].decode("latin-1").partition(".")
        name, _, secret = rest.partition(".")
        token = _token(name) if prefix == PREFIX else None
        right = hmac.compare_digest(digest(secret), bytes(token.digest) if token else _NO_DIGEST)
        if token is None or not right:
            raise AuthenticationFailed
        return ProxyUser(), token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class IsProxy(BasePermission):
    """Only the holder of a token for the proxy feed."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.auth, ServiceToken) and request.auth.scope == "proxy-feed"


def _token(name: str) -> ServiceToken | None:
    try:
        number = UUID(hex=name)
    except ValueError:
        return None
    return ServiceToken.objects.select_related("vendor").filter(pk=number, revoked=None).first()
