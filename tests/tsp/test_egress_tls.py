"""TLS of the guard: verified, always (T-15)."""

from __future__ import annotations

import socket
import ssl
import warnings

import pytest

from tests.support.ca import Authority
from tests.support.faults import FaultServer, reply, serving
from tsp.egress import Egress, EgressDenied, EgressFailed, context

LOCAL = ["127.0.0.0/8"]
SECRET = "Bearer a-secret-that-stays"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def _echo(server: FaultServer, sock: socket.socket) -> None:
    while server.request(sock):
        sock.sendall(reply(200, b"hello"))


def test_a_private_ca_is_enough_and_alone(authority: Authority) -> None:
    with serving(_echo, authority.server()) as server:
        egress = Egress(LOCAL)
        for _ in range(3):
            assert egress.request("GET", server.url, ca_pem=authority.pem).body == b"hello"
        assert server.accepted == 1
        with pytest.raises(EgressFailed):
            egress.request("GET", server.url)  # the system's store does not know it
        with pytest.raises(EgressFailed):
            egress.request("GET", server.url, ca_pem=Authority("another").pem)


def test_the_name_is_verified_on_the_pinned_address(authority: Authority) -> None:
    with serving(_echo, authority.server(["service.example"])) as server:
        egress = Egress(LOCAL, resolve=lambda host, port: ["127.0.0.1"])
        url = f"https://service.example:{server.port}/"
        assert egress.request("GET", url, ca_pem=authority.pem).status == 200
        assert server.received[0].split(b"\r\n")[1] == f"Host: service.example:{server.port}".encode()
        with pytest.raises(EgressFailed):
            egress.request("GET", f"https://other.example:{server.port}/", ca_pem=authority.pem)


def _old_tls(authority: Authority) -> ssl.SSLContext:
    made = authority.server()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made.minimum_version = ssl.TLSVersion.TLSv1
        made.maximum_version = ssl.TLSVersion.TLSv1_1
    made.set_ciphers("ALL:@SECLEVEL=0")
    return made


def _bad_servers(authority: Authority) -> dict[str, ssl.SSLContext]:
    return {
        "expired": authority.server(expired=True),
        "wrong host": authority.server(["wrong.example"]),
        "unknown authority": Authority("unknown").server(),
        "TLS 1.1": _old_tls(authority),
        "asks for a client certificate": authority.server(clients=True),
    }


@pytest.mark.parametrize(
    "name", ["expired", "wrong host", "unknown authority", "TLS 1.1", "asks for a client certificate"]
)
def test_bad_tls_is_unreachable_and_learns_no_credential(authority: Authority, name: str) -> None:
    """T-15: 0 bytes of credentials are sent to a server that has not proved its name."""
    with serving(_echo, _bad_servers(authority)[name]) as server:
        with pytest.raises(EgressFailed):
            Egress(LOCAL).request(
                "POST", server.url, headers={"Authorization": SECRET}, body=b"x", ca_pem=authority.pem, timeout=2
            )
        assert server.received == []


def test_a_client_certificate_opens_a_server_that_asks_for_one(authority: Authority) -> None:
    cert, key = authority.issue(["tsp.example"])
    with serving(_echo, authority.server(clients=True)) as server:
        egress = Egress(LOCAL)
        found = egress.request("GET", server.url, ca_pem=authority.pem, client_cert_pem=cert, client_key_pem=key)
        assert found.body == b"hello"
        with pytest.raises(EgressFailed):  # a kept connection with an identity is not lent to a request without one
            egress.request("GET", server.url, ca_pem=authority.pem, timeout=2)


@pytest.mark.parametrize("pem", ["nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_certificate_that_cannot_be_read_is_said_so(pem: str) -> None:
    with pytest.raises(EgressDenied, match="cannot be read"):
        context(pem)
    with pytest.raises(EgressDenied, match="cannot be read"):
        context("", pem, pem)


def test_verification_cannot_be_switched_off() -> None:
    made = context()
    assert made.verify_mode is ssl.CERT_REQUIRED
    assert made.check_hostname
    assert made.minimum_version is ssl.TLSVersion.TLSv1_2
    assert made.keylog_filename is None


def test_the_environment_names_no_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    authority = Authority("planted")
    file = f"{tmp_path}/ca.pem"
    with open(file, "w") as out:
        out.write(authority.pem)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"):
        monkeypatch.setenv(name, file)
    monkeypatch.setenv("SSLKEYLOGFILE", f"{tmp_path}/keys")
    context.cache_clear()
    with serving(_echo, authority.server()) as server, pytest.raises(EgressFailed):
        Egress(LOCAL).request("GET", server.url)
    context.cache_clear()


def test_a_slow_handshake_ends_at_the_deadline() -> None:
    with serving(lambda server, sock: server.request(sock) and None) as server, pytest.raises(EgressFailed):
        Egress(LOCAL).request("GET", f"https://127.0.0.1:{server.port}/", timeout=0.5)
