"""The one tree of errors: each class is a code of the wire API, an HTTP status and "may it be tried again".

    CmkError
    ├── ServiceError            1xx  the request or the service itself
    │   ├── Unauthorized        101
    │   ├── InvalidRequest      102
    │   ├── AuditUnavailable    100  the audit trail cannot take the event, so the key is not released
    │   ├── Overloaded          100  too many requests
    │   └── TspUnreachable        0  (made by the client only)
    ├── KmsError                2xx  the tenant's key service or its configuration
    │   ├── NoPrimaryKms        200
    │   ├── UnknownTenant       201
    │   ├── KmsConfigDisabled   202
    │   ├── InvalidEdek         203
    │   ├── KmsWrapFailed       204
    │   ├── KmsUnwrapFailed     205
    │   ├── KmsRefused          206  the tenant said no
    │   ├── KmsMisconfigured    207
    │   ├── KmsUnreachable      208
    │   ├── KmsThrottled        209
    │   └── KmsAccountIssue     210
    ├── SecurityEventRejected   301
    ├── SecretCreationFailed    401
    └── InvalidCiphertext       902  one class, one sentence, whatever was wrong

Codes and their meaning: docs/wire.md (wire API section 4.2). A programmer's mistake is a TypeError or
ValueError instead and never part of this tree.
"""

from __future__ import annotations

from typing import ClassVar


class CmkError(Exception):
    """The world's fault, not the programmer's. `str(error)` never holds a value, a key or a provider's text."""

    code: ClassVar[int] = 100
    http: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    default: ClassVar[str] = "unexpected error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.default)

    @property
    def message(self) -> str:
        return str(self)


class ServiceError(CmkError):
    """The request, or the service itself (1xx)."""


class Unauthorized(ServiceError):
    code, http = 101, 401
    default = "missing or wrong API key: send 'Authorization: cmk <API key>'"


class InvalidRequest(ServiceError):
    code, http = 102, 400
    default = "the request body is not valid"


class AuditUnavailable(ServiceError):
    code, http, retryable = 100, 503, True
    default = "the audit trail cannot take the event, so no key is released; try again"


class Overloaded(ServiceError):
    code, http, retryable = 100, 429, True
    default = "too many requests; slow down and try again"


class TspUnreachable(ServiceError):
    """Made by the client when no reply came; never sent on the wire."""

    code, http, retryable = 0, 503, True
    default = "the tenant security proxy did not answer"


class KmsError(CmkError):
    """The tenant's key service or its configuration (2xx)."""

    code, http = 204, 502


class NoPrimaryKms(KmsError):
    code, http = 200, 422
    default = "the tenant has no primary KMS configuration"


class UnknownTenant(KmsError):
    code, http = 201, 422
    default = "No configurations available for the provided tenant"


class KmsConfigDisabled(KmsError):
    code, http = 202, 422
    default = "the EDEK names a KMS configuration that is not active for this tenant or is not assigned to tenant"


class InvalidEdek(KmsError):
    code, http = 203, 422
    default = "Provided EDEK didn't contain IronCore EDEKs"


class KmsWrapFailed(KmsError):
    code, http = 204, 502
    default = "the key service answered, but its result cannot be used"


class KmsUnwrapFailed(KmsError):
    code, http = 205, 422
    default = "the EDEK cannot be unwrapped for this tenant"


class KmsRefused(KmsError):
    code, http = 206, 422
    default = "the tenant's key service refused access"


class KmsMisconfigured(KmsError):
    code, http = 207, 422
    default = "the tenant's KMS configuration is invalid or lacks a permission"


class KmsUnreachable(KmsError):
    code, http, retryable = 208, 503, True
    default = "the tenant's key service cannot be reached"


class KmsThrottled(KmsError):
    code, http, retryable = 209, 429, True
    default = "the tenant's key service is throttling requests"

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds, as the provider asked; None when it did not say


class KmsAccountIssue(KmsError):
    code, http = 210, 422
    default = "the tenant's key service account has a problem"


class SecurityEventRejected(CmkError):
    code, http = 301, 422
    default = "the security event was not accepted"


class SecretCreationFailed(CmkError):
    code, http = 401, 500
    default = "the tenant secret could not be created"


class InvalidCiphertext(CmkError):
    """Wrong key, wrong context, flipped bit, cut or foreign bytes: they all look the same on purpose."""

    code, http = 902, 422
    default = "the data cannot be decrypted"


# the tenant's own no: what shows as locked, and what kept keys are dropped for
WITHDRAWN = (KmsRefused, KmsConfigDisabled, UnknownTenant)


def _all(cls: type[CmkError]) -> list[type[CmkError]]:
    return [cls, *(found for sub in cls.__subclasses__() for found in _all(sub))]


_ABSTRACT = {CmkError, ServiceError, KmsError}
_UNTYPED = {AuditUnavailable, Overloaded}  # share code 100 on the wire; told apart by HTTP status
_LOCAL = {TspUnreachable, InvalidCiphertext}  # codes that clients make: a server that sends one is not believed
BY_CODE: dict[int, type[CmkError]] = {
    cls.code: cls for cls in _all(CmkError) if cls not in _ABSTRACT | _UNTYPED | _LOCAL
}


def from_code(code: int, message: str | None = None, http: int | None = None) -> CmkError:
    """The error that a reply `{"code", "message"}` with HTTP status `http` stands for.

    An unknown code, and one that only clients make, becomes a plain CmkError: it is never taken for success, for a
    refusal or for "try again".
    """
    if code == 100:
        for cls in _UNTYPED:
            if cls.http == http:
                return cls(message)
    return BY_CODE.get(code, CmkError)(message)
