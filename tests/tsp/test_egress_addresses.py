"""Appendix B: what the guard must not connect to, however it is spelt (T-16)."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.faults import FaultServer, reply, serving
from tsp.egress import Egress, EgressDenied
from tsp.egress.addresses import Rules, parse_url

_LITERALS = """
127.0.0.1 127.1 2130706433 0x7f000001 017700000001 0177.0.0.1 127.0.0.01 0.0.0.0 localhost localhost. LOCALHOST
[::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] 169.254.169.254 [::ffff:169.254.169.254]
[64:ff9b::169.254.169.254] [64:ff9b:1::a00:1] [2002:7f00:1::] [2002:a9fe:a9fe::] [fd00:ec2::254]
100.100.100.200 192.0.0.192 168.63.129.16
10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 198.18.0.1 198.19.255.255 192.0.2.1 224.0.0.1 239.1.1.1
240.0.0.1 255.255.255.255 [fe80::1%eth0] [fe80::1%25eth0] [fe80::1] [fec0::1] [fc00::1] [fdff::1] [5f00::1]
[2001:db8::1] [ff02::1] [2001::1] [3fff::1] 0x7f.1 0xa9.0xfe.0xa9.0xfe 1.2.3.4.5 256.1.1.1
"""
_NAMES = """
metadata.google.internal anything.internal printer.local api.default.svc db.default.svc.cluster.local
127.0.0.1.nip.io 10-0-0-1.sslip.io localtest.me a.localtest.me foo.localhost host
"""
LITERALS, NAMES = _LITERALS.split(), _NAMES.split()
URLS = [
    "https://user@93.184.216.34/",
    "https://user:pass@93.184.216.34/",
    "https://93.184.216.34#@127.0.0.1/",
    "https://127.0.0.1\\@93.184.216.34/",
    "https://93.184.216.34\\.evil.example/",
    "http://93.184.216.34/",
    "ftp://93.184.216.34/",
    "file:///etc/passwd",
    "gopher://93.184.216.34:70/_x",
    "unix:///var/run/docker.sock",
    "https://exam\u3002ple/",
    "https://例え.example/",
    "https://ex\tample.com/",
    "https://example.com\r\nX-Evil: 1/",
    "https://example.com/\r\nX-Evil: 1",
    "https://example.com /",
    "https://example.com/a b",
    "https://",
    "https:///path",
    "https://example.com:/",
    "https://example.com:99999/",
    "https://example.com:-1/",
    "https://-a.example/",
    "https://a..example/",
    "https://a_b.example/",
    "https://" + "a" * 64 + ".example/",
    "//example.com/",
    "example.com",
    "HTTPS//example.com",
    "https://example.com/" + "a" * 5000,
]
PORTS = [0, 1, 21, 22, 23, 25, 53, 80, 110, 139, 445, 2375, 3306, 3389, 5432, 6379, 9042, 11211, 27017, 49152]
PUBLIC = "93.184.216.34"


@pytest.fixture(autouse=True)
def _no_dialling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that fails must not let a test reach out: whatever passes the rules here fails otherwise than denied."""

    def refuse(address: str, port: int, timeout: float) -> None:
        raise OSError(f"dialled {address}")

    monkeypatch.setattr("tsp.egress.door.dial", refuse)


def _resolving(*addresses: str) -> Egress:
    return Egress(resolve=lambda host, port: list(addresses))


@pytest.mark.parametrize("host", LITERALS)
def test_refuses_every_spelling_of_an_inner_address(host: str) -> None:
    """T-16, each of Appendix B."""
    with pytest.raises(EgressDenied):
        _resolving("127.0.0.1").request("GET", f"https://{host}/")


@pytest.mark.parametrize("name", NAMES)
def test_refuses_inner_names_even_if_they_resolve_to_a_public_address(name: str) -> None:
    with pytest.raises(EgressDenied):
        _resolving(PUBLIC).request("GET", f"https://{name}/")


@pytest.mark.parametrize("url", URLS)
def test_refuses_urls_that_parsers_disagree_on(url: str) -> None:
    with pytest.raises(EgressDenied):
        _resolving(PUBLIC).request("GET", url)


@pytest.mark.parametrize("port", PORTS)
def test_refuses_ports_that_no_key_service_or_siem_has(port: int) -> None:
    with pytest.raises(EgressDenied):
        _resolving(PUBLIC).request("GET", f"https://service.example:{port}/")


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        (PUBLIC, "10.0.0.1"),
        ("10.0.0.1", PUBLIC),
        (PUBLIC, "::1"),
        ("2606:2800:220:1::1", "fd00::1"),
        ("64:ff9b::5db8:d822",),
        ("fe80::1%eth0",),
        ("2002:a00:1::",),
    ],
)
def test_every_address_of_a_name_must_pass(addresses: tuple[str, ...]) -> None:
    """CNAME to a private host, A and AAAA mixed, AAAA-only NAT64: it is the addresses that count."""
    with pytest.raises(EgressDenied):
        _resolving(*addresses).request("GET", "https://service.example/")


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "0.0.0.0", "fd00:ec2::254", "224.0.0.1"],
)
def test_metadata_services_stay_closed_even_if_the_operator_allows_everything(address: str) -> None:
    rules = Rules(["0.0.0.0/0", "::/0"])
    for form in _forms(address):
        with pytest.raises(EgressDenied):
            rules.check("service.example", 443, [form], plain=False)


def _forms(address: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    plain = ipaddress.ip_address(address)
    if isinstance(plain, ipaddress.IPv6Address):
        return [plain]
    number = int(plain)
    return [
        plain,
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address(number),
        ipaddress.IPv6Address((0x64FF9B << 96) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80)),
    ]


def test_inside_allow_data_stores_stay_closed() -> None:
    rules = Rules(["10.0.0.0/8"])
    inner = [ipaddress.ip_address("10.1.2.3")]
    rules.check("vault.corp.internal", 8200, inner, plain=False)
    rules.check("vault.corp.internal", 18080, inner, plain=True)
    for port in (22, 25, 443 + 1, 2375, 5432, 6379, 11211, 27017):
        with pytest.raises(EgressDenied):
            rules.check("vault.corp.internal", port, inner, plain=False)


def test_a_name_with_one_address_outside_allow_is_not_an_inner_one() -> None:
    rules = Rules(["10.0.0.0/8"])
    both = [ipaddress.ip_address("10.1.2.3"), ipaddress.ip_address(PUBLIC)]
    with pytest.raises(EgressDenied):
        rules.check("service.example", 443, both, plain=True)
    with pytest.raises(EgressDenied):
        rules.check("vault.corp.internal", 443, both, plain=False)


def test_public_addresses_pass() -> None:
    rules = Rules()
    for text in (PUBLIC, "1.1.1.1", "2606:4700:4700::1111", "168.63.129.17", "2a00:1450:4001::1"):
        rules.check("service.example", 443, [ipaddress.ip_address(text)], plain=False)


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_judged_at_least_as_hard_as_the_plain_one(address: ipaddress.IPv4Address) -> None:
    for form in _forms(str(address))[1:]:
        with pytest.raises(EgressDenied):
            Rules().check("service.example", 443, [form], plain=False)


@given(st.text(max_size=60))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}/x", f"https://a.example/{text}"):
        try:
            target = parse_url(url)
        except EgressDenied:
            continue
        assert target.scheme in ("https", "http")
        assert target.authority.isascii()
        assert not set(target.host + target.path) & set(" \t\r\n\\@#") - {"@"}
        assert "@" not in target.host


def _close_after_reply(server: FaultServer, sock: socket.socket) -> None:
    server.request(sock)
    sock.sendall(reply(200, b"{}", Connection="close"))


def test_a_name_that_changes_its_address_gets_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """TTL-0 rebinding: the address that was checked is the one that is dialled, and each connection is checked anew."""
    monkeypatch.undo()
    with serving(_close_after_reply, host="127.0.0.2") as named, serving(_close_after_reply, port=named.port) as canary:
        asked: list[str] = []

        def flip(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.2"] if len(asked) == 1 else ["127.0.0.1"]

        egress = Egress(["127.0.0.2/32"], resolve=flip)
        url = f"http://rebind.example:{named.port}/"
        assert egress.request("GET", url).status == 200
        assert asked == ["rebind.example"]  # not once to check and once more to dial
        with pytest.raises(EgressDenied):
            egress.request("GET", url)
        assert (named.accepted, canary.accepted) == (1, 0)
