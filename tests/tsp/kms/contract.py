"""What every key service promises; a provider's test inherits these and says how to reach, deny and silence it."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import KmsError, KmsRefused, KmsUnreachable, KmsUnwrapFailed
from tests.support.faults import FaultServer, reply, serving
from tsp.kms.base import MAX_BLOB, KmsAdapter

CONTEXT = KeyContext("acme", "tenant-a", 7, "dek")
OTHERS = [
    replace(CONTEXT, vendor="acme2"),
    replace(CONTEXT, tenant="tenant-b"),
    replace(CONTEXT, tenant="tenant-"),
    replace(CONTEXT, config=8),
    replace(CONTEXT, purpose="lek"),
    replace(CONTEXT, vendor="acmet", tenant="enant-a"),
]


class KmsContract:
    """Inherit with fixtures `kms` (it works), `denied` (its tenant has said no) and `silent` (it cannot be reached)."""

    #: positions of a wrapped key from which on every flipped bit must be named KmsUnwrapFailed
    opaque_from = 0

    def test_unwraps_what_it_wrapped(self, kms: KmsAdapter) -> None:
        for context in (CONTEXT, *OTHERS):
            key = os.urandom(32)
            blob = kms.wrap(key, context)
            assert 0 < len(blob) <= MAX_BLOB
            assert key not in blob
            found = kms.unwrap(blob, context)
            assert type(found) is bytearray
            assert found == key

    def test_takes_keys_in_memory_that_can_be_wiped(self, kms: KmsAdapter) -> None:
        key = bytearray(os.urandom(32))
        assert kms.unwrap(kms.wrap(memoryview(key), CONTEXT), CONTEXT) == key

    def test_wraps_the_same_key_differently_each_time(self, kms: KmsAdapter) -> None:
        key = bytes(32)
        assert len({kms.wrap(key, CONTEXT) for _ in range(5)}) == 5

    @pytest.mark.parametrize("other", OTHERS, ids=str)
    def test_refuses_another_context(self, kms: KmsAdapter, other: KeyContext) -> None:
        """T-7: another vendor, tenant, configuration or purpose, and parts that were shifted between them."""
        blob = kms.wrap(os.urandom(32), CONTEXT)
        with pytest.raises(KmsUnwrapFailed):
            kms.unwrap(blob, other)

    def test_refuses_flipped_bits(self, kms: KmsAdapter) -> None:
        """And never as a refusal by the tenant where that can be told: it would wipe a good lease."""
        blob = kms.wrap(os.urandom(32), CONTEXT)
        for position in {*range(0, len(blob), 7), 0, 1, len(blob) - 1}:
            changed = bytearray(blob)
            changed[position] ^= 1 << (position % 8)
            expected = KmsUnwrapFailed if position >= self.opaque_from else KmsError
            with pytest.raises(expected):
                kms.unwrap(bytes(changed), CONTEXT)

    @pytest.mark.parametrize("cut", [0, 1, 16])
    def test_refuses_what_it_never_wrapped(self, kms: KmsAdapter, cut: int) -> None:
        blob = kms.wrap(os.urandom(32), CONTEXT)
        for foreign in (blob[:cut], blob[:-1], b"\xff" * 64):
            with pytest.raises(KmsError):
                kms.unwrap(foreign, CONTEXT)

    def test_names_a_denied_key(self, denied: tuple[KmsAdapter, bytes]) -> None:
        kms, blob = denied
        with pytest.raises(KmsRefused):
            kms.unwrap(blob, CONTEXT)
        with pytest.raises(KmsRefused):
            kms.wrap(bytes(32), CONTEXT)

    def test_names_a_key_service_that_cannot_be_reached(self, silent: KmsAdapter) -> None:
        with pytest.raises(KmsUnreachable) as raised:
            silent.wrap(bytes(32), CONTEXT)
        assert raised.value.retryable

    def test_ignores_the_environment_of_the_machine(self, kms: KmsAdapter, poisoned_environment: FaultServer) -> None:
        key = os.urandom(32)
        assert kms.unwrap(kms.wrap(key, CONTEXT), CONTEXT) == key
        assert poisoned_environment.accepted == 0

    def test_shows_no_secret(
        self, kms: KmsAdapter, silent: KmsAdapter, denied: tuple[KmsAdapter, bytes], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Not in repr, not in errors nor what they are chained to, not in logs at the lowest level."""
        shown = []
        secrets: set[str] = set()
        with caplog.at_level(logging.DEBUG):
            for adapter in (kms, silent, denied[0]):
                found = {getattr(adapter.config, item.name) for item in fields(adapter.config) if not item.repr}
                secrets |= {secret for secret in found if secret}
                shown += [repr(adapter), repr(adapter.config), repr(vars(adapter))]
                key = os.urandom(32)
                failure = _failure(adapter, key)
                assert (failure.__cause__, failure.__context__) == (None, None)
                shown += [repr(failure), "".join(traceback.format_exception(failure))]
                secrets |= {key.hex(), repr(key)}
        shown += [f"{record.getMessage()} {record.args!r}" for record in caplog.records]
        for secret in secrets:
            assert not any(secret in text for text in shown)


def _failure(adapter: KmsAdapter, key: bytes) -> KmsError:
    with pytest.raises(KmsError) as raised:
        adapter.unwrap(adapter.wrap(key, CONTEXT)[:-1] + b"\0\1", CONTEXT)
    return raised.value


@pytest.fixture
def poisoned_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: str) -> Iterator[FaultServer]:
    """Variables, a home and files that would lead an SDK astray: all to one trap, which counts who comes."""

    def answer(server: FaultServer, sock: object) -> None:
        server.request(sock)  # type: ignore[arg-type]
        sock.sendall(reply(200, b"{}"))  # type: ignore[attr-defined]

    with serving(answer) as trap:
        home = f"{tmp_path}/home"
        os.makedirs(f"{home}/.aws/models/kms/2014-11-01")
        lines = [
            "[default]",
            "aws_access_key_id = AKIAPOISON",
            "aws_secret_access_key = poison",
            "region = us-poison-1",
        ]
        lines += [f"endpoint_url = {trap.url}", "credential_process = /bin/false", "max_attempts = 9", "services = all"]
        lines += [f"ca_bundle = {home}/nothing", "[services all]", "kms =", f"  endpoint_url = {trap.url}"]
        for name in ("config", "credentials"):
            with open(f"{home}/.aws/{name}", "w") as file:
                file.write("\n".join(lines))
        with open(f"{home}/.aws/models/kms/2014-11-01/service-2.json", "w") as file:
            file.write('{"metadata": {}}')
        for name, value in _poison(home, trap.url).items():
            monkeypatch.setenv(name, value)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield trap


def _poison(home: str, url: str) -> dict[str, str]:
    proxies = {f"{name}_proxy": url for name in ("http", "https", "all")}
    return {
        "HOME": home,
        **proxies,
        **{name.upper(): value for name, value in proxies.items()},
        "AWS_ACCESS_KEY_ID": "AKIAPOISON",
        "AWS_SECRET_ACCESS_KEY": "poison",
        "AWS_SESSION_TOKEN": "poison",
        "AWS_PROFILE": "nobody",
        "AWS_DEFAULT_PROFILE": "nobody",
        "AWS_REGION": "us-poison-1",
        "AWS_DEFAULT_REGION": "us-poison-1",
        "AWS_CONFIG_FILE": f"{home}/.aws/config",
        "AWS_SHARED_CREDENTIALS_FILE": f"{home}/.aws/credentials",
        "AWS_CA_BUNDLE": f"{home}/nothing",
        "AWS_DATA_PATH": f"{home}/.aws/models",
        "AWS_ENDPOINT_URL": url,
        "AWS_ENDPOINT_URL_KMS": url,
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": url,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": url,
        "AWS_WEB_IDENTITY_TOKEN_FILE": f"{home}/token",
        "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/poison",
        "AWS_BEARER_TOKEN_KMS": "poison",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_CSM_ENABLED": "true",
        "AWS_MAX_ATTEMPTS": "9",
        "AWS_RETRY_MODE": "adaptive",
        "AWS_DEFAULTS_MODE": "nonsense",
        "REQUESTS_CA_BUNDLE": f"{home}/nothing",
        "SSL_CERT_FILE": f"{home}/nothing",
    }
