"""AWS KMS: Encrypt and Decrypt under one key that is always named, with the key context as encryption context."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import (
    KmsAccountIssue,
    KmsError,
    KmsMisconfigured,
    KmsRefused,
    KmsThrottled,
    KmsUnreachable,
    KmsUnwrapFailed,
)
from encrypted_fields.core.memory import erase
from tsp.contract.options import option
from tsp.egress import EgressFailed
from tsp.kms.base import KmsAdapter

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

TOTAL_SECONDS = 2.0
CONNECT_SECONDS = 0.5
_PAUSES = (0.05, 0.1, 0.2)  # so at most four attempts, as long as TOTAL_SECONDS lasts

# Codes as KMS documents them (API reference, "Common errors" and the errors of Encrypt and Decrypt).
VERDICTS: dict[str, type[KmsError]] = {
    # the tenant, or a policy of the tenant, said no
    "AccessDeniedException": KmsRefused,
    "AccessDenied": KmsRefused,
    "NotAuthorized": KmsRefused,
    "DisabledException": KmsRefused,
    "NotFoundException": KmsRefused,
    "ExpiredToken": KmsRefused,
    "ExpiredTokenException": KmsRefused,
    "InvalidClientTokenId": KmsRefused,
    "UnrecognizedClientException": KmsRefused,
    "AuthFailure": KmsRefused,
    # the configuration cannot work, whoever asks
    "InvalidSignatureException": KmsMisconfigured,
    "SignatureDoesNotMatch": KmsMisconfigured,
    "IncompleteSignature": KmsMisconfigured,
    "MissingAuthenticationToken": KmsMisconfigured,
    "MissingAuthenticationTokenException": KmsMisconfigured,
    "InvalidArnException": KmsMisconfigured,
    "ValidationException": KmsMisconfigured,
    "ValidationError": KmsMisconfigured,
    "InvalidKeyUsageException": KmsMisconfigured,
    "UnsupportedOperationException": KmsMisconfigured,
    "UnknownOperationException": KmsMisconfigured,
    "OptInRequired": KmsAccountIssue,
    "SubscriptionRequiredException": KmsAccountIssue,
    "AccountProblem": KmsAccountIssue,
    # this wrapped key only
    "InvalidCiphertextException": KmsUnwrapFailed,
    "IncorrectKeyException": KmsUnwrapFailed,
    # later
    "ThrottlingException": KmsThrottled,
    "Throttling": KmsThrottled,
    "ThrottledException": KmsThrottled,
    "RequestThrottled": KmsThrottled,
    "RequestThrottledException": KmsThrottled,
    "RequestLimitExceeded": KmsThrottled,
    "TooManyRequestsException": KmsThrottled,
    "LimitExceededException": KmsThrottled,
    "SlowDown": KmsThrottled,
    "KMSInternalException": KmsUnreachable,
    "KeyUnavailableException": KmsUnreachable,
    "DependencyTimeoutException": KmsUnreachable,
    "CloudHsmClusterInvalidConfigurationException": KmsUnreachable,
    "InternalFailure": KmsUnreachable,
    "InternalError": KmsUnreachable,
    "ServiceUnavailable": KmsUnreachable,
    "ServiceUnavailableException": KmsUnreachable,
    "RequestExpired": KmsUnreachable,  # our clock, not the tenant's will
    "RequestTimeTooSkewed": KmsUnreachable,
}

# One code for many causes: a key's state, and everything that an external key store reports. Only the message tells
# them apart (Developer guide, "Troubleshooting external key stores"); what is not listed is a fault, not a refusal.
STATES: tuple[tuple[str, type[KmsError]], ...] = (
    ("pending deletion", KmsRefused),
    ("pendingdeletion", KmsRefused),
    ("pending import", KmsRefused),
    ("pendingimport", KmsRefused),
    ("pending replica deletion", KmsRefused),
    ("is disabled", KmsRefused),
    ("denied access to the operation", KmsRefused),
    ("could not find the external key", KmsRefused),
    ("external key is not enabled", KmsRefused),
    ("external key does not support the requested operation", KmsRefused),
)


class AwsKms(KmsAdapter):
    """Blocking, thread-safe. One call takes at most two seconds with its retries."""

    label = "AWS KMS"

    @dataclass(frozen=True, slots=True)
    class Config:
        key_arn: str = option("Key ARN", placeholder="arn:aws:kms:eu-central-1:111122223333:key/…")
        region: str = option("Region", placeholder="eu-central-1")
        access_key_id: str = option("Access key ID", help="Of a user that may only Encrypt and Decrypt with this key.")
        secret_access_key: str = option("Secret access key", secret=True)
        session_token: str = option("Session token", secret=True, default="", help="Only for temporary credentials.")
        endpoint_url: str = option("Endpoint URL", default="", help="Only for a private endpoint.")
        expires: str = option(
            "Credentials end on", default="", ends="date", placeholder="2027-01-31",
            help="Optional. Your log is told 14, 3 and 1 days before.",
        )  # fmt: skip

    def __init__(self, config: Config, egress: Any) -> None:
        super().__init__(config, egress)
        self._made: KMSClient | None = None
        self._making = threading.Lock()

    def _wrap(self, key: bytes | bytearray | memoryview, context: KeyContext) -> bytes:
        plain = bytes(key)
        try:
            reply = self._ask(
                lambda kms: kms.encrypt(KeyId=self.config.key_arn, Plaintext=plain, EncryptionContext=context.facts())
            )
        finally:
            if plain is not key:  # bytes() of bytes is no copy
                erase(plain)
        return bytes(reply["CiphertextBlob"])

    def _unwrap(self, blob: bytes, context: KeyContext) -> bytes:
        # The key is named although the blob names one too: a blob of another key is refused (T-18).
        reply = self._ask(
            lambda kms: kms.decrypt(KeyId=self.config.key_arn, CiphertextBlob=blob, EncryptionContext=context.facts())
        )
        return bytes(reply["Plaintext"])

    def translate(self, error: Exception) -> KmsError:
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, ClientError):
            return classify(*_facts(error))
        if isinstance(error, (BotoCoreError, ValueError, KeyError)):
            # The SDK could not make the request (a region that is none) or the reply is not one of KMS.
            return KmsMisconfigured() if _is_ours(error) else KmsUnreachable()
        return KmsUnreachable()

    def _ask(self, call: Callable[[KMSClient], Any]) -> Any:
        kms = self._client()
        until = time.monotonic() + TOTAL_SECONDS
        fresh = False
        for pause in (*_PAUSES, None):
            try:
                with self.egress.within(until - time.monotonic(), fresh=fresh):
                    return call(kms)
            except Exception as error:
                if pause is None or time.monotonic() + pause >= until or not self._again(error, fresh):
                    raise
            fresh = True  # whatever went wrong, the next attempt does not share its connection
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _again(self, error: Exception, asked_again: bool) -> bool:
        if isinstance(error, EgressFailed):
            return True
        if _unrecognised_refusal(error):
            return not asked_again  # a firewall's 403 is asked about once more, then believed
        return type(self.translate(error)) is KmsUnreachable and not _is_ours(error)

    def _client(self) -> KMSClient:
        from tsp.egress.aws import client

        with self._making:
            if self._made is None:
                self._made = client(
                    "kms",
                    self.egress,
                    region=self.config.region,
                    access_key_id=self.config.access_key_id,
                    secret_access_key=self.config.secret_access_key,
                    session_token=self.config.session_token,
                    endpoint_url=self.config.endpoint_url,
                    timeout=TOTAL_SECONDS,
                    connect_timeout=CONNECT_SECONDS,
                )
            return self._made


def classify(code: str, status: int, message: str = "", retry_after: str = "") -> KmsError:
    """The verdict on an error reply. Whatever is not documented is KmsUnreachable, but for a bare 401 or 403 (R-5)."""
    if code == "KMSInvalidStateException":
        lower = message.lower()
        return next((verdict for words, verdict in STATES if words in lower), KmsUnreachable)()
    verdict = VERDICTS.get(code)
    if verdict is None:
        verdict = {401: KmsRefused, 403: KmsRefused, 429: KmsThrottled}.get(status, KmsUnreachable)
    if issubclass(verdict, KmsThrottled):
        return verdict(retry_after=float(retry_after) if re.fullmatch(r"[0-9]{1,5}", retry_after) else None)
    return verdict()


def _facts(error: Any) -> tuple[str, int, str, str]:
    """Code, HTTP status, message and Retry-After of a botocore ClientError, whatever shape the reply had."""
    told = error.response.get("Error") or {}
    about = error.response.get("ResponseMetadata") or {}
    status = about.get("HTTPStatusCode")
    later = (about.get("HTTPHeaders") or {}).get("retry-after")
    return (
        str(told.get("Code", "")),
        status if isinstance(status, int) else 0,
        str(told.get("Message", ""))[:1000],
        str(later or ""),
    )


def _unrecognised_refusal(error: Exception) -> bool:
    from botocore.exceptions import ClientError

    if not isinstance(error, ClientError):
        return False
    code, status, _, _ = _facts(error)
    return status in (401, 403) and code not in VERDICTS and code != "KMSInvalidStateException"


def _is_ours(error: Exception) -> bool:
    """The SDK refused before it asked anybody: parameters, region or endpoint make no sense."""
    from botocore import exceptions

    return isinstance(
        error,
        (
            exceptions.ParamValidationError,
            exceptions.InvalidRegionError,
            exceptions.NoRegionError,
            exceptions.EndpointProviderError,
            exceptions.InvalidEndpointConfigurationError,
            ValueError,
        ),
    ) and not isinstance(error, exceptions.HTTPClientError)
