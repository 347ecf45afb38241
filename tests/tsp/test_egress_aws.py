"""The AWS SDK behind the guard: it connects nowhere else and reads nothing of this machine (T-16)."""

from __future__ import annotations

import json
import logging
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.faults import FaultServer, reply, serving
from tests.tsp.kms.contract import poisoned_environment
from tsp.egress import Egress, EgressDenied, aws

__all__ = ["poisoned_environment"]

SECRET = "a-secret-access-key-for-the-guard"
_seen: list[tuple[str, Any]] = []
_watching = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in ("socket.connect", "socket.getaddrinfo", "open", "subprocess.Popen"):
        _seen.append((event, arguments[1] if event == "socket.connect" else arguments[0]))


sys.addaudithook(_hook)


@pytest.fixture
def watched() -> Iterator[list[tuple[str, Any]]]:
    """What the interpreter itself reports: connections, look-ups, files, programs."""
    global _watching
    _seen.clear()
    _watching = True
    yield _seen
    _watching = False


def _kms(server: FaultServer, sock: socket.socket) -> None:
    while server.request(sock):
        sock.sendall(reply(200, json.dumps({"KeyId": "k", "Plaintext": "c2VjcmV0"}).encode()))


def _client(egress: Egress, url: str) -> Any:
    return aws.client(
        "kms",
        egress,
        region="eu-central-1",
        access_key_id="AKIAGUARD",
        secret_access_key=SECRET,
        endpoint_url=url,
    )


@pytest.mark.usefixtures("poisoned_environment")
def test_every_connection_and_file_of_the_sdk_is_ours(watched: list[tuple[str, Any]]) -> None:
    aws._session.cache_clear()
    with serving(_kms) as server:
        egress = Egress(["127.0.0.0/8"])
        kms = _client(egress, server.url)
        for _ in range(3):
            assert kms.decrypt(CiphertextBlob=b"x")["Plaintext"] == b"secret"
        assert [what for event, what in watched if event == "socket.connect"] == [("127.0.0.1", server.port)]
        assert [what for event, what in watched if event in ("socket.getaddrinfo", "subprocess.Popen")] == []
        files = [str(what) for event, what in watched if event == "open"]
        assert [name for name in files if "/.aws" in name] == []
        assert any("botocore" in name for name in files)  # the watch works
        assert b"AKIAGUARD/" in server.received[0]
        assert b"POISON" not in b"".join(server.received)
    egress.close()


def test_an_endpoint_that_is_not_allowed_is_not_asked() -> None:
    with serving(_kms) as server, pytest.raises(EgressDenied):
        _client(Egress(), server.url).decrypt(CiphertextBlob=b"x")
    assert server.accepted == 0


def test_without_an_endpoint_the_sdk_asks_for_the_regions_own() -> None:
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(f"{host}:{port}")
        return ["127.0.0.1"]

    with pytest.raises(EgressDenied):
        _client(Egress(resolve=resolve), "").decrypt(CiphertextBlob=b"x")
    assert asked == ["kms.eu-central-1.amazonaws.com:443"]


def test_the_sdk_logs_neither_keys_nor_credentials(caplog: pytest.LogCaptureFixture) -> None:
    with serving(_kms) as server, caplog.at_level(logging.DEBUG):
        egress = Egress(["127.0.0.0/8"])
        _client(egress, server.url).decrypt(CiphertextBlob=b"x")
        egress.close()
    shown = " ".join(f"{record.getMessage()} {record.args!r}" for record in caplog.records)
    assert "c2VjcmV0" not in shown
    assert SECRET not in shown
