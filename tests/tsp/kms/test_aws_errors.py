"""How AWS KMS errors are named: the table as data, and faults made at the socket."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encrypted_fields.core.errors import (
    KmsAccountIssue,
    KmsError,
    KmsMisconfigured,
    KmsRefused,
    KmsThrottled,
    KmsUnreachable,
    KmsUnwrapFailed,
)
from tests.support.faults import FaultServer, reply, serving
from tests.tsp.kms.aws_contract import kms_at
from tests.tsp.kms.contract import CONTEXT
from tsp.egress import Egress
from tsp.kms.aws import STATES, VERDICTS, AwsKms, classify

ARN = "arn:aws:kms:eu-central-1:111122223333:key/11111111-2222-3333-4444-555555555555"
STATE = "KMSInvalidStateException"
# code, HTTP status, message, verdict (Appendix A, the row of AWS)
CONDITIONS = [
    ("AccessDeniedException", 400, "User is not authorized to perform: kms:Decrypt", KmsRefused),
    ("DisabledException", 400, f"{ARN} is disabled.", KmsRefused),
    ("NotFoundException", 400, "Key does not exist", KmsRefused),
    ("ExpiredTokenException", 400, "The security token included in the request is expired", KmsRefused),
    ("UnrecognizedClientException", 400, "The security token included in the request is invalid.", KmsRefused),
    ("InvalidClientTokenId", 403, "", KmsRefused),
    (STATE, 400, f"{ARN} is pending deletion.", KmsRefused),
    (STATE, 400, f"{ARN} is pending import.", KmsRefused),
    (STATE, 400, "The external key store proxy denied access to the operation. Verify that", KmsRefused),
    (
        STATE,
        400,
        "The external key store proxy rejected the request because it could not find the external key.",
        KmsRefused,
    ),
    (STATE, 400, "... because the external key is not enabled in the external key manager.", KmsRefused),
    (STATE, 400, "... because the external key does not support the requested operation.", KmsRefused),
    (STATE, 400, "The external key store proxy did not respond in time.", KmsUnreachable),
    (STATE, 400, "The external key store proxy is in an unhealthy state.", KmsUnreachable),
    (STATE, 400, "AWS KMS cannot interpret the response from the external key store proxy.", KmsUnreachable),
    (STATE, 400, f"{ARN} is unavailable.", KmsUnreachable),
    (STATE, 400, "", KmsUnreachable),
    ("ThrottlingException", 400, "Rate exceeded", KmsThrottled),
    ("LimitExceededException", 400, "", KmsThrottled),
    ("TooManyRequestsException", 429, "", KmsThrottled),
    ("KMSInternalException", 500, "", KmsUnreachable),
    ("DependencyTimeoutException", 500, "", KmsUnreachable),
    ("KeyUnavailableException", 500, "", KmsUnreachable),
    ("ServiceUnavailable", 503, "", KmsUnreachable),
    ("InvalidCiphertextException", 400, "", KmsUnwrapFailed),
    ("IncorrectKeyException", 400, "", KmsUnwrapFailed),
    ("InvalidKeyUsageException", 400, "", KmsMisconfigured),
    ("ValidationException", 400, "", KmsMisconfigured),
    ("SignatureDoesNotMatch", 403, "", KmsMisconfigured),
    ("OptInRequired", 403, "", KmsAccountIssue),
    ("DryRunOperationException", 412, "The request would have succeeded", KmsUnreachable),
    ("", 403, "<html>blocked by the firewall</html>", KmsRefused),
    ("", 401, "", KmsRefused),
    ("", 429, "", KmsThrottled),
    ("", 200, "", KmsUnreachable),
    ("", 502, "<html>Bad gateway</html>", KmsUnreachable),
    ("SomethingNew", 400, "", KmsUnreachable),
]


@pytest.mark.parametrize(("code", "status", "message", "verdict"), CONDITIONS)
def test_each_documented_condition_has_its_name(code: str, status: int, message: str, verdict: type[KmsError]) -> None:
    assert type(classify(code, status, message)) is verdict


def test_retry_after_is_passed_on_when_it_is_a_number() -> None:
    for text, expected in (("7", 7.0), ("", None), ("-1", None), ("Wed, 21 Oct 2026", None), ("9" * 30, None)):
        error = classify("ThrottlingException", 400, "", text)
        assert isinstance(error, KmsThrottled)
        assert error.retry_after == expected


@given(st.text(max_size=40), st.integers(-1, 999), st.text(max_size=80), st.text(max_size=10))
def test_the_unknown_is_never_a_refusal_and_never_success(code: str, status: int, message: str, later: str) -> None:
    error = classify(code, status, message, later)
    assert isinstance(error, KmsError)
    if code not in VERDICTS and code != STATE and status not in (401, 403, 429):
        assert type(error) is KmsUnreachable
    if code == STATE and not any(words in message.lower() for words, _ in STATES):
        assert type(error) is KmsUnreachable


def _error(code: str, status: int, message: str = "") -> bytes:
    body = json.dumps({"__type": code, "message": message}).encode()
    return reply(status, body, Content_Type="application/x-amz-json-1.1")


def _success() -> bytes:
    return reply(200, json.dumps({"CiphertextBlob": "AAAA", "KeyId": ARN}).encode())


Served = Callable[[list[bytes]], tuple[AwsKms, FaultServer]]


@pytest.fixture
def served(egress: Egress) -> Iterator[Served]:
    """A key service that gives these replies in turn, the last one for ever. b"" cuts the connection."""
    made = []

    def make(replies: list[bytes]) -> tuple[AwsKms, FaultServer]:
        def answer(server: FaultServer, sock: socket.socket) -> None:
            while server.request(sock):
                said = replies[min(len(server.received), len(replies)) - 1]
                if not said:
                    return
                sock.sendall(said)

        server = serving(answer)
        made.append(server)
        running = server.__enter__()
        return kms_at(running.url, ARN, egress), running

    yield make
    for server in made:
        server.__exit__(None, None, None)


@pytest.mark.parametrize(("code", "status", "message", "verdict"), [row for row in CONDITIONS if row[0]])
def test_each_condition_is_named_the_same_on_the_wire(
    served: Served, code: str, status: int, message: str, verdict: type[KmsError]
) -> None:
    kms, _ = served([_error(code, status, message)])
    with pytest.raises(KmsError) as raised:
        kms.wrap(bytes(32), CONTEXT)
    assert type(raised.value) is verdict


def test_transient_faults_are_not_seen(served: Served) -> None:
    """R-3: one cut connection and one 503 are survived."""
    kms, server = served([b"", _error("ServiceUnavailable", 503), _success()])
    assert kms.wrap(bytes(32), CONTEXT) == b"\0\0\0"
    assert len(server.received) == 3


def test_a_lasting_fault_is_named_after_four_tries_within_two_seconds(served: Served) -> None:
    kms, server = served([_error("KMSInternalException", 500)])
    began = time.monotonic()
    with pytest.raises(KmsUnreachable):
        kms.wrap(bytes(32), CONTEXT)
    assert time.monotonic() - began < 2
    assert len(server.received) == 4


@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "DisabledException", "ThrottlingException", "ValidationException"]
)
def test_an_answer_is_not_asked_for_twice(served: Served, code: str) -> None:
    kms, server = served([_error(code, 400)])
    with pytest.raises(KmsError):
        kms.wrap(bytes(32), CONTEXT)
    assert len(server.received) == 1


def test_a_firewalls_403_is_asked_about_once_more_on_a_new_connection(served: Served) -> None:
    """R-5."""
    blocked = reply(403, b"<html>blocked</html>", Content_Type="text/html")
    kms, server = served([blocked, _success()])
    assert kms.wrap(bytes(32), CONTEXT) == b"\0\0\0"
    assert server.accepted == 2
    kms, server = served([blocked])
    with pytest.raises(KmsRefused):
        kms.wrap(bytes(32), CONTEXT)
    assert len(server.received) == 2


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, b"{}"),
        reply(200, b""),
        reply(200, b"null"),
        reply(200, b'{"CiphertextBlob": 5}'),
        reply(200, b'{"CiphertextBlob": "!!!"}'),
        reply(200, b'{"CiphertextBlob": ""}'),
        reply(200, b"<html>welcome</html>"),
        reply(200, b"[" * 5000),
        reply(302, b"", Location="http://169.254.169.254/"),
        reply(204, b""),
    ],
)
def test_a_reply_that_is_none_of_kms_is_never_taken(served: Served, answer: bytes) -> None:
    kms, _ = served([answer])
    with pytest.raises(KmsError) as raised:
        kms.wrap(bytes(32), CONTEXT)
    assert not isinstance(raised.value, KmsRefused)


def test_every_call_names_the_key_and_the_context(served: Served) -> None:
    kms, server = served([_success()])
    kms.wrap(bytes(32), CONTEXT)
    sent = json.loads(server.received[0].partition(b"\r\n\r\n")[2])
    assert sent["KeyId"] == ARN
    assert sent["EncryptionContext"] == CONTEXT.facts()


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("http://169.254.169.254/", "eu-central-1"),
        ("https://10.0.0.1/", "eu-central-1"),
        ("https://metadata.google.internal/", "eu-central-1"),
        ("file:///etc/passwd", "eu-central-1"),
        ("nonsense", "eu-central-1"),
        ("", "eu central"),
        ("", "x@evil.example/"),
        ("", "evil.example#"),
    ],
)
def test_an_endpoint_or_region_that_leads_elsewhere_is_a_mistake(url: str, region: str) -> None:
    """T-16 holds for the SDK, too."""
    kms = AwsKms(AwsKms.Config(ARN, region, "AKIATEST", "secret", "", url), Egress(resolve=lambda host, port: []))
    with pytest.raises(KmsMisconfigured):
        kms.wrap(bytes(32), CONTEXT)
