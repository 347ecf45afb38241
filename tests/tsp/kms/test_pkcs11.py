"""PKCS#11 on SoftHSM2 through p11-kit: the contract for both ways to wrap, threads, logins (R-8)."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from typing import Any

import pkcs11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encrypted_fields.core.errors import KmsError, KmsMisconfigured, KmsRefused, KmsUnreachable, KmsUnwrapFailed
from tests.support.softhsm import PIN, SoftHsm
from tests.tsp.kms.contract import CONTEXT, KmsContract
from tsp.contract.options import load
from tsp.egress import Egress
from tsp.kms import pkcs11 as ours
from tsp.kms.pkcs11 import VERDICTS, Pkcs11Kms, classify, code_of


def _kms(token: str = "cmk", key: str = "gcm", pin: str = PIN, module: str = "tests") -> Pkcs11Kms:
    options = {"module": module, "token_label": token, "pin": pin, "key_label": key}
    return Pkcs11Kms(load(Pkcs11Kms.Config, options), Egress())


@pytest.fixture(autouse=True)
def _hsm(softhsm: SoftHsm) -> None:
    """Every test here needs the tokens."""


class _OnSoftHsm(KmsContract):
    key = "gcm"

    @pytest.fixture
    def kms(self) -> Pkcs11Kms:
        return _kms(key=self.key)

    @pytest.fixture
    def denied(self, kms: Pkcs11Kms) -> Iterator[tuple[Pkcs11Kms, bytes]]:
        """The tenant deletes the key."""
        label = f"doomed-{self.key}-{os.urandom(4).hex()}"
        encrypts, wraps = self.key == "gcm", self.key == "wrap"
        kms.wrap(bytes(32), CONTEXT)  # so that the token is logged in
        session = _session("cmk", rw=True)
        made = session.generate_key(
            pkcs11.KeyType.AES,
            256,
            label=label,
            store=True,
            template={
                pkcs11.Attribute.ENCRYPT: encrypts,
                pkcs11.Attribute.DECRYPT: encrypts,
                pkcs11.Attribute.WRAP: wraps,
                pkcs11.Attribute.UNWRAP: wraps,
            },
        )
        doomed = _kms(key=label)
        blob = doomed.wrap(bytes(32), CONTEXT)
        made.destroy()
        yield doomed, blob
        session.close()

    @pytest.fixture
    def silent(self) -> Pkcs11Kms:
        return _kms(token="unplugged")


class TestGcm(_OnSoftHsm):
    def test_the_blob_says_so(self, kms: Pkcs11Kms) -> None:
        blob = kms.wrap(bytes(32), CONTEXT)
        assert (blob[0], len(blob)) == (1, 1 + 12 + 32 + 16)


class TestKeyWrap(_OnSoftHsm):
    key = "wrap"

    def test_the_blob_says_so(self, kms: Pkcs11Kms) -> None:
        assert kms.wrap(bytes(32), CONTEXT)[0] == 2


def _session(token: str, *, rw: bool = False) -> Any:
    return pkcs11.lib(ours.modules()["tests"]).get_token(token_label=token).open(rw=rw)


def test_a_blob_of_one_key_opens_under_no_other() -> None:
    """T-18: same label on another token, other key on the same token."""
    blob = _kms("cmk", "gcm").wrap(bytes(32), CONTEXT)
    for other in (_kms("other", "gcm"), _kms("cmk", "wrap")):
        with pytest.raises(KmsUnwrapFailed):
            other.unwrap(blob, CONTEXT)


def test_a_key_that_may_do_nothing_is_a_mistake_to_wrap_with_and_a_refusal_to_unwrap_with() -> None:
    with pytest.raises(KmsMisconfigured):
        _kms(key="useless").wrap(bytes(32), CONTEXT)
    with pytest.raises(KmsRefused):
        _kms(key="useless").unwrap(_kms().wrap(bytes(32), CONTEXT), CONTEXT)


@pytest.mark.parametrize("key", ["gcm", "wrap"])
def test_four_threads_share_one_login(key: str) -> None:
    """python-pkcs11 on a module without locks dies here; through p11-kit it must not."""
    kms = _kms(key=key)
    failures: list[Exception] = []

    def work() -> None:
        try:
            for _ in range(100):
                secret = os.urandom(32)
                assert kms.unwrap(kms.wrap(secret, CONTEXT), CONTEXT) == secret
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that were asked to log in, in order."""
    seen: list[str] = []
    real = ours._log_in

    def counted(path: str, label: str, pin: str) -> Any:
        seen.append(label)
        return real(path, label, pin)

    monkeypatch.setattr(ours, "_log_in", counted)
    return seen


def test_a_bad_pin_is_tried_once_in_a_thousand_requests(logins: list[str]) -> None:
    """R-8: HSMs lock or wipe themselves after a few bad logins. Also when the requests come at the same time."""
    kms = _kms("locked", pin="wrong")
    refused: list[int] = []

    def ask(times: int) -> None:
        for _ in range(times):
            try:
                kms.wrap(bytes(32), CONTEXT)
            except KmsRefused:
                refused.append(1)

    threads = [threading.Thread(target=ask, args=(250,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1000
    assert logins == ["locked"]


def test_a_new_configuration_may_try_again(logins: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(KmsRefused):
            _kms("locked", pin="wrong").wrap(bytes(32), CONTEXT)
    assert logins == ["locked", "locked"]


def test_who_does_not_know_the_pin_cannot_use_anothers_login(logins: list[str]) -> None:
    """PKCS#11 has one login for a token and a process: another tenant's must not be enough."""
    _kms().wrap(bytes(32), CONTEXT)
    before = list(logins)
    stranger = _kms(pin="guess")
    for _ in range(3):
        with pytest.raises(KmsMisconfigured):
            stranger.wrap(bytes(32), CONTEXT)
    assert logins == before  # and no try was wasted on the token


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # python-pkcs11 ends a search on it
def test_lost_sessions_are_opened_again_unseen(logins: list[str]) -> None:
    """R-8: the HSM forgot us (a restart, a failover): one new login, no failed request."""
    kms = _kms("other")
    blob = kms.wrap(bytes(32), CONTEXT)
    before = len(logins)
    pkcs11.lib(ours.modules()["tests"]).reinitialize()
    assert kms.unwrap(blob, CONTEXT) == bytes(32)
    assert len(logins) == before + 1
    assert kms.unwrap(blob, CONTEXT) == bytes(32)
    assert len(logins) == before + 1
    for token in ours._tokens.values():
        token.forget()  # the other tokens' sessions are lost as well, and later tests are not about that
    gc.collect()


@pytest.mark.parametrize("module", ["unknown", "/usr/lib/libevil.so", "../tests", ""])
def test_a_tenant_names_no_path(module: str) -> None:
    kms = Pkcs11Kms(Pkcs11Kms.Config(module, "cmk", PIN, "gcm"), Egress())
    with pytest.raises(KmsMisconfigured):
        kms.wrap(bytes(32), CONTEXT)


@pytest.mark.parametrize("setting", ["tests", "tests=relative.so", "=/a.so", "a=/a.so,b"])
def test_a_module_list_that_cannot_be_read_is_said_so(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("TSP_PKCS11_MODULES", setting)
    with pytest.raises(KmsMisconfigured, match="TSP_PKCS11_MODULES"):
        ours.modules()


# Appendix A, the row of PKCS#11
CONDITIONS: dict[type[Exception], type[KmsError]] = {
    pkcs11.PinIncorrect: KmsRefused,
    pkcs11.PinLocked: KmsRefused,
    pkcs11.UserNotLoggedIn: KmsRefused,
    pkcs11.KeyHandleInvalid: KmsRefused,
    pkcs11.NoSuchKey: KmsRefused,
    pkcs11.FunctionRejected: KmsRefused,
    pkcs11.EncryptedDataInvalid: KmsUnwrapFailed,
    pkcs11.WrappedKeyInvalid: KmsUnwrapFailed,
    pkcs11.DeviceError: KmsUnreachable,
    pkcs11.DeviceRemoved: KmsUnreachable,
    pkcs11.TokenNotPresent: KmsUnreachable,
    pkcs11.SessionHandleInvalid: KmsUnreachable,
    pkcs11.SessionClosed: KmsUnreachable,
    pkcs11.HostMemory: KmsUnreachable,
    pkcs11.GeneralError: KmsUnreachable,
    pkcs11.PKCS11Error: KmsUnreachable,
    pkcs11.MechanismInvalid: KmsMisconfigured,
    RuntimeError: KmsUnreachable,
}


@pytest.mark.parametrize("error", CONDITIONS, ids=lambda error: error.__name__)
def test_each_condition_has_its_name(error: type[Exception]) -> None:
    assert type(_kms().translate(error())) is CONDITIONS[error]


def test_codes_without_a_class_are_told_by_their_number() -> None:
    not_permitted = pkcs11.PKCS11Error("Unmapped error code 0x68")
    assert code_of(not_permitted) == "0x68"
    assert type(_kms().translate(not_permitted)) is KmsRefused


def test_the_table_names_only_errors_that_exist() -> None:
    for name in VERDICTS:
        assert name.startswith("0x") or hasattr(pkcs11, name), name


@given(st.text(max_size=30))
def test_the_unknown_is_never_a_refusal_and_never_success(code: str) -> None:
    error = classify(code)
    assert isinstance(error, KmsError)
    if code not in VERDICTS:
        assert type(error) is KmsUnreachable
