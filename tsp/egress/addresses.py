"""Which addresses, names and ports may be connected to (T-16). The list is ours: `ipaddress.is_global` has holes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class EgressError(Exception):
    """A connection was not made or did not deliver. The text holds no address of ours, no credential and no reply."""


class EgressDenied(EgressError):
    """Our rules forbid this address, scheme, port, name or certificate: trying again cannot help."""


class EgressFailed(EgressError):
    """DNS, TLS, a timeout, a reset, a reply too large: the other side could not be talked to."""


# What a public internet service can never be. Sources: IANA special-purpose registries, and the holes of `is_global`.
_DENIED = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
    ::/8 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 2002::/16 3fff::/20 5f00::/16
    fc00::/7 fe80::/10 fec0::/10 ff00::/8
"""
# Never, not even inside `allow`: instance metadata, "this host", multicast.
# 168.63.129.16 is Azure's wire server: a public address with a private meaning.
_NEVER = """
    0.0.0.0/8 169.254.0.0/16 100.100.100.200/32 192.0.0.192/32 168.63.129.16/32 224.0.0.0/4 240.0.0.0/4
    ::/128 fd00:ec2::254/128 fd20:ce::254/128 fe80::/10 ff00::/8
"""
# Prefixes that carry an IPv4 address, and the bit at which it starts.
_EMBEDDED = [
    (IPv6Network("::ffff:0:0/96"), 96),
    (IPv6Network("::/96"), 96),
    (IPv6Network("64:ff9b::/96"), 96),
    (IPv6Network("64:ff9b:1::/48"), 96),
    (IPv6Network("2002::/16"), 16),
]
_DENIED_NETS, _NEVER_NETS = ([ip_network(text) for text in names.split()] for names in (_DENIED, _NEVER))
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_INSIDE = (".internal", ".local", ".localhost", ".localdomain", ".svc", ".home.arpa", ".in-addr.arpa", ".ip6.arpa")
_ECHO = (".nip.io", ".sslip.io", ".xip.io", ".lvh.me", ".localtest.me", ".vcap.me")  # names that spell any address

TLS_PORTS = frozenset({443, 4318, 5696, 6514, 8088, 8200, 8443, 9200, 9243, 9443})
# Inside `allow` any high port but those of stores that take commands from whoever connects.
_STORES = frozenset({2049, 2375, 2379, 2380, 3306, 5432, 5984, 6379, 6443, 9042, 10250, 11211, 27017})


class Target:
    """One parsed address of a service: scheme, host as given, port, and path with query."""

    __slots__ = ("host", "path", "port", "scheme")

    def __init__(self, scheme: str, host: str, port: int, path: str) -> None:
        self.scheme, self.host, self.port, self.path = scheme, host, port, path

    @property
    def authority(self) -> str:
        """The Host header: without the scheme's default port, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"https": 443, "http": 80}.get(self.scheme) else f"{host}:{self.port}"


def parse_url(url: str) -> Target:
    """EgressDenied for all but a plain http(s) URL: no user, no fragment, no character that parsers disagree on."""
    if not url.isascii() or len(url) > 4096 or re.search(r"[^!-~]|[\\<>\"^`{|}#]", url):
        raise EgressDenied("the URL holds characters that a URL cannot hold")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise EgressDenied("the URL is not valid") from None
    if parts.scheme not in ("https", "http"):
        raise EgressDenied("only https is spoken")
    if "@" in parts.netloc:
        raise EgressDenied("a URL with a user name is not taken")
    if port is None:
        if parts.netloc.endswith(":"):
            raise EgressDenied("the URL is not valid")
        port = 443 if parts.scheme == "https" else 80
    check_host(host)
    path = parts.path or "/"
    return Target(parts.scheme, host, port, f"{path}?{parts.query}" if parts.query else path)


def check_host(host: str) -> Address | None:
    """The address that `host` is, or None for a name. EgressDenied for spellings that resolvers read differently."""
    if ":" in host or re.fullmatch(r"[0-9.]+", host):
        try:
            literal = ip_address(host)
        except ValueError:
            raise EgressDenied("the host is not an address in its usual form") from None
        if isinstance(literal, IPv6Address) and literal.scope_id is not None:
            raise EgressDenied("an address with a zone is not taken")
        return literal
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or _NUMBER.fullmatch(labels[-1]):
        raise EgressDenied("the host is not a name")
    return None


class Rules:
    """The deny-list and the operator's exceptions. `allow`: CIDRs whose hosts are let through, also over plain http."""

    def __init__(self, allow: Sequence[str] = ()) -> None:
        self._allow = [ip_network(text) for text in allow]

    def allowed(self, address: Address) -> bool:
        """Whether the operator named this address's network."""
        return any(address in network for network in self._allow if network.version == address.version)

    def check_name(self, host: str) -> None:
        """Before it is looked up: without exceptions an inner name cannot pass, so nobody is asked for it."""
        if not self._allow and check_host(host) is None and _is_inside_name(host):
            raise EgressDenied("the host's name is not a public one")

    def check(self, host: str, port: int, addresses: Iterable[Address], *, plain: bool) -> None:
        """EgressDenied unless every one of `addresses` may be connected to at `port` for `host`."""
        found = list(addresses)
        if not found:
            raise EgressFailed("the host has no address")
        for address in found:
            if not self._passes(address):
                raise EgressDenied("the host has an address that is not public")
        private = all(self.allowed(address) for address in found)
        if plain and not private:
            raise EgressDenied("only https is spoken")
        if not private and _is_inside_name(host):
            raise EgressDenied("the host's name is not a public one")
        if not _port_passes(port, private):
            raise EgressDenied("this port is not open to the outside")

    def _passes(self, address: Address) -> bool:
        forms = [address, *_embedded(address)]
        if any(form in network for form in forms for network in _NEVER_NETS if network.version == form.version):
            return False
        if self.allowed(address):
            return True
        return not any(form in network for form in forms for network in _DENIED_NETS if network.version == form.version)


def _embedded(address: Address) -> list[IPv4Address]:
    if isinstance(address, IPv4Address):
        return []
    return [
        IPv4Address((int(address) >> (96 - start)) & 0xFFFFFFFF if start < 96 else int(address) & 0xFFFFFFFF)
        for network, start in _EMBEDDED
        if address in network
    ]


def _is_inside_name(host: str) -> bool:
    dotted = "." + host.lower()
    return dotted.endswith(_INSIDE + _ECHO) or (":" not in host and "." not in host)


def _port_passes(port: int, private: bool) -> bool:
    if port in TLS_PORTS:
        return True
    return private and (port == 80 or port >= 1024) and port not in _STORES and port <= 65535
