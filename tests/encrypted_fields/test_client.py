"""The proxy's client over a real socket: limits, retries, TLS, and what a broken reply may not show."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from encrypted_fields import acting, client, tenant
from encrypted_fields.client import TspClient
from encrypted_fields.conf import Conf, conf
from encrypted_fields.core.errors import (
    CmkError,
    InvalidEdek,
    KmsRefused,
    KmsUnwrapFailed,
    Overloaded,
    TspUnreachable,
    Unauthorized,
    UnknownTenant,
)
from encrypted_fields.core.protocol import BadReply, Metadata, NoSuchRoute, Uses
from tests.encrypted_fields.wire import API_KEY, WireTsp, reply
from tests.sample_app.models import Note, Patient
from tests.support.ca import Authority

ABOUT = Metadata("north", "tests", "label", object_id="1")


@pytest.fixture
def wire() -> Iterator[WireTsp]:
    server = WireTsp()
    yield server
    server.close()


def speak(wire: WireTsp, **settings: Any) -> TspClient:
    return TspClient(
        Conf(**{"tsp_url": wire.url, "api_key": API_KEY, "connect_seconds": 2, "total_seconds": 5, **settings})
    )


def test_wraps_and_unwraps_one_and_many(wire: WireTsp) -> None:
    api = speak(wire)
    one = api.wrap(ABOUT)
    assert api.unwrap(ABOUT, one.edek) == one.dek
    assert len(one.dek) == 32
    many = api.batch_wrap(ABOUT, 1000)
    edeks = [key.edek for key in many if not isinstance(key, CmkError)]
    assert api.batch_unwrap(ABOUT, edeks) == [key.dek for key in many if not isinstance(key, CmkError)]
    assert wire.connections == 1  # kept alive
    assert wire.bodies[0] == {
        "tenantId": "north",
        "customFields": {},
        "iclFields": {"requestingId": "tests", "dataLabel": "label", "objectId": "1"},
    }


def test_reports_uses_and_events(wire: WireTsp) -> None:
    """Both are answered with `null` (rule 7), which is no reply of wrap or unwrap."""
    api = speak(wire)
    api.report_operations(ABOUT, {b"edek": Uses(unwraps=3), b"other": Uses(wraps=1)})
    api.security_event(ABOUT, "DATA_DENY_ACCESS")
    assert [(call.route, call.count, call.event) for call in wire.tsp.calls] == [
        ("report_operations", 4, ""),
        ("security_event", 0, "DATA_DENY_ACCESS"),
    ]
    assert wire.bodies[0]["operations"]["ZWRlaw=="] == {"wraps": 0, "unwraps": 3}
    assert abs(wire.bodies[1]["timestampMillis"] / 1000 - time.time()) < 60
    wire.tsp.failing = UnknownTenant()
    with pytest.raises(UnknownTenant):
        api.security_event(ABOUT, "DATA_DENY_ACCESS")
    wire.fault = lambda handler, body: reply(handler, 200, None) or True  # type: ignore[func-returns-value]
    with pytest.raises(BadReply):
        api.wrap(ABOUT)


def test_a_failure_of_one_key_stays_its_own(wire: WireTsp) -> None:
    api = speak(wire)
    good = api.wrap(ABOUT)
    first, second = api.batch_unwrap(ABOUT, [good.edek, api.wrap(Metadata("south", "tests")).edek])
    assert first == good.dek
    assert isinstance(second, KmsUnwrapFailed)


def test_rekeys_many_in_one_call(wire: WireTsp) -> None:
    api = speak(wire)
    keys = [api.wrap(ABOUT), api.wrap(ABOUT)]
    first, bad, second = api.batch_rekey(ABOUT, [keys[0].edek, b"edek", keys[1].edek], "south")
    assert isinstance(bad, InvalidEdek)
    for edek, key in ((first, keys[0]), (second, keys[1])):
        assert isinstance(edek, bytes)
        assert api.unwrap(Metadata("south", "tests"), edek) == key.dek
    assert [call.route for call in wire.tsp.calls].count("batch_rekey") == 1


@pytest.mark.parametrize("body", [b"", b"<h1>Not found</h1>", b'{"code": 102, "message": "no such route"}'])
def test_says_what_to_do_about_a_proxy_without_batch_rekey(wire: WireTsp, body: bytes) -> None:
    """IronCore's, or one of ours from before: never one call a key instead, unasked."""
    wire.fault = lambda handler, _: reply(handler, 404, body) or True  # type: ignore[func-returns-value]
    with pytest.raises(NoSuchRoute, match="--one-by-one"):
        speak(wire).batch_rekey(ABOUT, [b"edek"], "north")
    assert len(wire.bodies) == 1
    with pytest.raises(NoSuchRoute, match="CMK_TSP_URL"):
        speak(wire).wrap(ABOUT)


def test_errors_of_the_whole_request_are_typed(wire: WireTsp) -> None:
    wire.tsp.revoke("north")
    with pytest.raises(KmsRefused):
        speak(wire).wrap(ABOUT)
    with pytest.raises(Unauthorized):
        speak(wire, api_key="d3Jvbmcga2V5IGluZGVlZA==").wrap(ABOUT)


def test_a_connection_that_the_proxy_closed_is_opened_again(wire: WireTsp) -> None:
    api = speak(wire)
    api.wrap(ABOUT)
    api._local.kept.connection.sock.shutdown(socket.SHUT_RDWR)
    assert api.wrap(ABOUT).edek
    assert wire.connections == 2


def test_tries_once_more_when_the_proxy_says_later(wire: WireTsp) -> None:
    left = [1]

    def busy(handler: Any, body: Any) -> bool:
        if left and left.pop():
            reply(handler, 429, {"code": 100, "message": "later"})
            return True
        return False

    wire.fault = busy
    assert speak(wire).wrap(ABOUT).edek
    wire.fault = lambda handler, body: reply(handler, 429, {"code": 100, "message": "later"}) is None
    before = len(wire.bodies)
    with pytest.raises(Overloaded):
        speak(wire).wrap(ABOUT)
    assert len(wire.bodies) - before == 2


def test_gives_up_after_the_total_time_however_slowly_bytes_come(wire: WireTsp) -> None:
    def drip(handler: Any, body: Any) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b" ")
            time.sleep(0.05)
        return True

    wire.fault = drip
    start = time.monotonic()
    with pytest.raises(TspUnreachable):
        speak(wire, total_seconds=0.4).wrap(ABOUT)
    assert time.monotonic() - start < 1.5


def test_says_unreachable_when_nobody_listens_or_answers(wire: WireTsp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(TspUnreachable, match="in time"):
            TspClient(Conf(url, API_KEY, total_seconds=0.3)).wrap(ABOUT)
        assert time.monotonic() - start < 1
    with pytest.raises(TspUnreachable):
        TspClient(Conf(url, API_KEY)).wrap(ABOUT)
    with pytest.raises(TspUnreachable):
        TspClient(Conf("http://no-such-host.invalid:1", API_KEY, total_seconds=2)).wrap(ABOUT)


def test_never_follows_a_redirect(wire: WireTsp) -> None:
    other = WireTsp()
    try:
        wire.fault = lambda handler, body: reply(handler, 307, b"", Location=other.url + handler.path) is None
        with pytest.raises(CmkError):
            speak(wire).wrap(ABOUT)
        assert other.bodies == []
    finally:
        other.close()


def test_never_uses_a_proxy_of_the_environment(wire: WireTsp, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert speak(wire).wrap(ABOUT).edek


DEK = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3I="


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"null"),
        (200, b"<html>" + DEK.encode()),
        (200, b'{"dek": "' + DEK.encode()),
        (200, {"dek": DEK}),
        (200, {"dek": DEK, "edek": ""}),
        (200, {"dek": DEK[:-4], "edek": "YQ=="}),
        (200, {"dek": DEK + "\n", "edek": "YQ=="}),
        (200, {"dek": 5, "edek": "YQ=="}),
        (200, ["dek", DEK]),
        (500, b"<html>" + DEK.encode()),
        (400, {"dek": DEK, "edek": "YQ=="}),
        (502, {"code": "206", "message": DEK}),
        (302, b""),
        (200, {"keys": {"0": {"dek": DEK, "edek": "YQ=="}}}),
        (200, {"keys": {"1": {"dek": DEK, "edek": "YQ=="}}, "failures": {}}),
        (200, {"keys": {"0": {"dek": DEK, "edek": "YQ=="}}, "failures": {"0": {"code": 206, "message": "no"}}}),
    ],
)
def test_a_reply_of_another_shape_is_refused_and_never_quoted(
    wire: WireTsp, status: int, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wire.fault = lambda handler, _: reply(handler, status, body) is None
    for call in (
        lambda: speak(wire).wrap(ABOUT),
        lambda: speak(wire).batch_wrap(ABOUT, 1),
        lambda: speak(wire).batch_unwrap(ABOUT, [b"e"]),
    ):
        if isinstance(body, dict) and "keys" in body and call.__code__.co_names[1] == "batch_unwrap":
            continue
        with pytest.raises(CmkError) as caught:
            call()
        chain: BaseException | None = caught.value
        while chain is not None:
            assert DEK not in repr(chain)
            chain = chain.__cause__ or chain.__context__
    assert DEK not in caplog.text


def test_a_reply_without_end_is_cut(wire: WireTsp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_REPLY", 100_000)
    wire.fault = lambda handler, _: reply(handler, 200, b" " * 200_000) is None
    with pytest.raises(TspUnreachable):
        speak(wire).wrap(ABOUT)


def test_a_cut_reply_is_no_reply(wire: WireTsp) -> None:
    def cut(handler: Any, body: Any) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", "500")
        handler.end_headers()
        handler.wfile.write(b'{"dek"')
        handler.close_connection = True
        return True

    wire.fault = cut
    with pytest.raises(TspUnreachable):
        speak(wire).wrap(ABOUT)


def test_threads_have_connections_of_their_own(wire: WireTsp) -> None:
    api, found = speak(wire, total_seconds=5), []
    threads = [threading.Thread(target=lambda: found.append(api.wrap(ABOUT).edek)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 5
    assert wire.connections == 5


def test_a_forked_child_opens_its_own_connection(wire: WireTsp) -> None:
    api = speak(wire, total_seconds=5)
    api.wrap(ABOUT)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, b"ok" if api.wrap(ABOUT).edek else b"no")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        assert answer.read() == b"ok"
    os.waitpid(child, 0)
    assert api.wrap(ABOUT).edek
    assert wire.connections == 2


class TestTls:
    """https is verified against the system's or the configured authority (CMK_TSP_CA_FILE)."""

    @pytest.fixture
    def served(self, tmp_path: Path) -> Iterator[tuple[WireTsp, str]]:
        authority = Authority()
        ca_file = tmp_path / "ca.pem"
        ca_file.write_text(authority.pem)
        server = WireTsp(authority.server(["localhost"]))
        yield server, str(ca_file)
        server.close()

    def test_trusts_the_configured_authority(self, served: tuple[WireTsp, str]) -> None:
        assert speak(served[0], ca_file=served[1]).wrap(ABOUT).edek

    def test_refuses_an_unknown_authority(self, served: tuple[WireTsp, str]) -> None:
        with pytest.raises(TspUnreachable):
            speak(served[0]).wrap(ABOUT)
        assert served[0].bodies == []

    def test_refuses_a_certificate_of_another_name(self, served: tuple[WireTsp, str]) -> None:
        url = served[0].url.replace("localhost", "127.0.0.1")
        with pytest.raises(TspUnreachable):
            speak(served[0], ca_file=served[1], tsp_url=url).wrap(ABOUT)
        assert served[0].bodies == []


# --- settings


@pytest.mark.django_db
def test_fields_use_the_configured_proxy_and_tell_who_asks(wire: WireTsp) -> None:
    with (
        override_settings(CMK_TSP_URL=wire.url + "/", CMK_TSP_API_KEY=API_KEY),
        tenant("north"),
        acting("user-7", source_ip="192.0.2.9", request_id="r-1", custom={"why": "audit"}),
    ):
        Note.objects.create(title="t", body="a canary")
        assert Note.objects.get().body == "a canary"
    assert wire.bodies[0]["iclFields"] == {
        "requestingId": "user-7",
        "sourceIp": "192.0.2.9",
        "requestId": "r-1",
        "dataLabel": "sample_app.note",
    }
    assert wire.bodies[0]["customFields"] == {"why": "audit"}
    assert "canary" not in json.dumps(wire.bodies)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"CMK_TSP_URL": None}, "set CMK_TSP_URL"),
        ({"CMK_TSP_URL": ""}, "set CMK_TSP_URL"),
        ({"CMK_TSP_API_KEY": None}, "set CMK_TSP_API_KEY"),
        ({"CMK_TSP_URL": "http://tsp.example.org:7777"}, "use https://"),
        ({"CMK_TSP_URL": "ftp://127.0.0.1"}, "must be an http"),
        ({"CMK_TSP_URL": "tsp:7777"}, "must be an http"),
        ({"CMK_TSP_URL": "https://user:pw@tsp"}, "no user, password"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], message: str) -> None:
    with override_settings(**settings), pytest.raises(ImproperlyConfigured, match=message):
        Patient.objects.create(tenant_id="north", diagnosis="x")
    assert Patient.objects.none().count() == 0


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "http://127.9.9.9:1", "https://tsp"]
)
def test_loopback_and_https_need_no_permission(url: str) -> None:
    with override_settings(CMK_TSP_URL=url):
        assert conf().tsp_url == url
    with override_settings(CMK_TSP_URL="http://10.0.0.1", CMK_TSP_ALLOW_HTTP=True):
        assert conf().allow_http


def test_the_key_is_not_printed() -> None:
    with override_settings(CMK_TSP_API_KEY="c2VjcmV0"):
        assert "c2VjcmV0" not in repr(conf())


def test_a_bad_reply_is_no_success() -> None:
    assert not BadReply().retryable
