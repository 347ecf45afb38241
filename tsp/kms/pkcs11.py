"""An HSM through PKCS#11: AES-GCM with associated data, or AES key wrap with padding where the key allows only that."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import KmsError, KmsMisconfigured, KmsRefused, KmsUnreachable, KmsUnwrapFailed
from tsp.contract.options import option
from tsp.kms.base import KmsAdapter

MODULES = "TSP_PKCS11_MODULES"
_GCM, _KEY_WRAP_PAD = 1, 2
_NONCE_BYTES, _TAG_BITS = 12, 128
_DIGEST_BYTES = 32
_SALT_BYTES = 16
_MAX_IDLE = 16
_Result = TypeVar("_Result")

# PKCS#11 return values by python-pkcs11's class names, or the number where it has none. The rest is KmsUnreachable.
VERDICTS: dict[str, type[KmsError]] = {
    "PinIncorrect": KmsRefused,
    "PinInvalid": KmsRefused,
    "PinLenRange": KmsRefused,
    "PinLocked": KmsRefused,
    "PinExpired": KmsRefused,
    "UserPinNotInitialized": KmsRefused,
    "UserNotLoggedIn": KmsRefused,
    "NoSuchKey": KmsRefused,
    "KeyHandleInvalid": KmsRefused,
    "ObjectHandleInvalid": KmsRefused,
    "WrappingKeyHandleInvalid": KmsRefused,
    "UnwrappingKeyHandleInvalid": KmsRefused,
    "0x68": KmsRefused,  # CKR_KEY_FUNCTION_NOT_PERMITTED, which python-pkcs11 has no class for
    "0x1b": KmsRefused,  # CKR_ACTION_PROHIBITED
    "FunctionRejected": KmsRefused,
    "MultipleObjectsReturned": KmsMisconfigured,
    "MultipleTokensReturned": KmsMisconfigured,
    "MechanismInvalid": KmsMisconfigured,
    "KeyTypeInconsistent": KmsMisconfigured,
    "WrappingKeyTypeInconsistent": KmsMisconfigured,
    "UnwrappingKeyTypeInconsistent": KmsMisconfigured,
    "KeySizeRange": KmsMisconfigured,
    "EncryptedDataInvalid": KmsUnwrapFailed,
    "EncryptedDataLenRange": KmsUnwrapFailed,
    "WrappedKeyInvalid": KmsUnwrapFailed,
    "WrappedKeyLenRange": KmsUnwrapFailed,
    "0x42": KmsUnwrapFailed,  # CKR_AEAD_DECRYPT_FAILED
    "DeviceError": KmsUnreachable,
    "DeviceMemory": KmsUnreachable,
    "DeviceRemoved": KmsUnreachable,
    "TokenNotPresent": KmsUnreachable,
    "NoSuchToken": KmsUnreachable,
    "SessionHandleInvalid": KmsUnreachable,
    "SessionClosed": KmsUnreachable,
    "SessionCount": KmsUnreachable,
    "HostMemory": KmsUnreachable,
    "GeneralError": KmsUnreachable,
    "FunctionFailed": KmsUnreachable,
}
# A session or a handle that is gone: opened again and tried once more, the key looked for anew.
_LOST = {
    "SessionHandleInvalid",
    "SessionClosed",
    "DeviceRemoved",
    "TokenNotPresent",
    "UserNotLoggedIn",
    "KeyHandleInvalid",
    "ObjectHandleInvalid",
    "WrappingKeyHandleInvalid",
    "UnwrappingKeyHandleInvalid",
}
# What modules say of a changed blob besides the codes made for it; also what they say when they are ill.
_VAGUE = {"GeneralError", "FunctionFailed", "DataInvalid", "DataLenRange", "ArgumentsBad", "TemplateInconsistent"}
_LOGIN = {"PinIncorrect", "PinInvalid", "PinLenRange", "PinLocked", "PinExpired", "UserPinNotInitialized"}


class Pkcs11Kms(KmsAdapter):
    """Blocking, thread-safe. A tenant names a module that the operator listed in TSP_PKCS11_MODULES, never a path."""

    label = "HSM (PKCS#11)"

    @dataclass(frozen=True, slots=True)
    class Config:
        module: str = option("Module", help="A name that the operator of the proxy has set up for you.")
        token_label: str = option("Token label")
        pin: str = option("PIN of the token's user", secret=True)
        key_label: str = option("Label of the AES key")

    def __init__(self, config: Config, egress: Any) -> None:
        super().__init__(config, egress)
        self._login = _Login(config.pin)

    def _wrap(self, key: bytes | bytearray | memoryview, context: KeyContext) -> bytes:
        return self._with_key(lambda used: _wrapped(used, bytes(key), context.aad()))

    def _unwrap(self, blob: bytes, context: KeyContext) -> bytes:
        if not blob or blob[0] not in (_GCM, _KEY_WRAP_PAD):
            raise KmsUnwrapFailed
        return self._with_key(lambda used: _unwrapped(used, blob, context.aad()))

    def translate(self, error: Exception) -> KmsError:
        return classify(code_of(error))

    def _with_key(self, use: Callable[[_UsedKey], _Result]) -> _Result:
        token = _token(self.config.module, self.config.token_label)
        for again in (True, False):
            try:
                with token.key(self._login, self.config.key_label) as used:
                    return use(used)
            except Exception as error:
                if not again or code_of(error) not in _LOST:
                    raise
            token.forget()
        raise AssertionError("the second attempt returns or raises")


def classify(code: str) -> KmsError:
    """The verdict on a PKCS#11 error by its `code_of`."""
    return VERDICTS.get(code, KmsUnreachable)()


def code_of(error: Exception) -> str:
    """The name of the error's class; the number in hex for a code that python-pkcs11 does not know."""
    number = re.fullmatch(r"Unmapped error code (0x[0-9a-f]+)", str(error))
    return number.group(1) if number else type(error).__name__


def modules() -> dict[str, str]:
    """What the operator lets tenants use: `name=/path/to/module.so`, comma separated, in TSP_PKCS11_MODULES."""
    pairs = [item.strip().partition("=") for item in os.environ.get(MODULES, "").split(",") if item.strip()]
    if any(not name or not path.startswith("/") for name, _, path in pairs):
        raise KmsMisconfigured(f"{MODULES} must look like name=/path/to/module.so,other=/path")
    return {name: path for name, _, path in pairs}


@dataclass(slots=True)
class _Login:
    """A PIN, and whether a token refused it: a few more tries would lock or wipe the token, so there is none (R-8)."""

    pin: str = field(repr=False)
    refused: bool = False


@dataclass(slots=True)
class _UsedKey:
    """One key in one session, in the hands of one thread."""

    session: Any
    key: Any

    def ways_in(self) -> list[int]:
        """The formats that this token and this key can make, the better one first."""
        from pkcs11 import Attribute, Mechanism

        can = self.session.token.slot.get_mechanisms()
        ways = (
            (_GCM, Mechanism.AES_GCM, Attribute.ENCRYPT),
            (_KEY_WRAP_PAD, Mechanism.AES_KEY_WRAP_PAD, Attribute.WRAP),
        )
        return [way for way, mechanism, attribute in ways if mechanism in can and self.key[attribute]]

    def ways_out(self) -> list[int]:
        """The formats that this key may open. Read each time: a tenant may withdraw this, too."""
        from pkcs11 import Attribute

        return [
            way
            for way, attribute in ((_GCM, Attribute.DECRYPT), (_KEY_WRAP_PAD, Attribute.UNWRAP))
            if self.key[attribute]
        ]


class _Token:
    """A token of this process. PKCS#11 knows one login for all sessions, so all adapters of a token share it."""

    def __init__(self, path: str, label: str) -> None:
        self._path, self._label = path, label
        self._lock = threading.Lock()
        self._login: Any = None  # the session that holds the login
        self._salt = os.urandom(16)
        self._proof = b""
        self._generation = 0
        self._idle: deque[tuple[int, Any]] = deque()

    @contextmanager
    def key(self, login: _Login, label: str) -> Iterator[_UsedKey]:
        """The key called `label`, for this thread alone, under a login with this PIN."""
        from pkcs11 import KeyType, ObjectClass

        generation, session = self._session(login)
        try:
            found = session.get_key(object_class=ObjectClass.SECRET_KEY, key_type=KeyType.AES, label=label)
            yield _UsedKey(session, found)
        except Exception as error:
            if code_of(error) in _LOST | {"GeneralError", "DeviceError"}:
                session = None  # in doubt: not used again
            raise
        finally:
            with self._lock:
                keep = session is not None and generation == self._generation and len(self._idle) < _MAX_IDLE
                if keep:
                    self._idle.append((generation, session))
            if not keep and session is not None:
                _close(session)

    def forget(self) -> None:
        """The sessions are gone: the next use logs in anew."""
        with self._lock:
            self._generation += 1
            old = [session for _, session in self._idle]
            self._idle.clear()
            login, self._login = self._login, None
        for session in (*old, login):
            if session is not None:
                _close(session)

    def _session(self, login: _Login) -> tuple[int, Any]:
        with self._lock:
            if login.refused:
                raise KmsRefused("the HSM refused this PIN; no further try is made until the configuration changes")
            proof = hmac.digest(self._salt, login.pin.encode(), "sha256")
            if self._login is None:
                try:
                    self._login = _log_in(self._path, self._label, login.pin)
                except Exception as error:
                    login.refused = code_of(error) in _LOGIN
                    raise
                self._proof = proof
            elif not hmac.compare_digest(self._proof, proof):
                # Logged in, so the HSM would not look at this PIN: whoever does not know the right one stays outside.
                raise KmsMisconfigured("another PIN is in use for this token; after a change of PIN, restart the proxy")
            while self._idle:
                generation, session = self._idle.pop()
                if generation == self._generation:
                    return generation, session
            return self._generation, self._login.token.open()


def _log_in(path: str, label: str, pin: str) -> Any:
    import pkcs11

    found = pkcs11.lib(path).get_token(token_label=label)
    try:
        return found.open(user_pin=pin)
    except pkcs11.UserAlreadyLoggedIn:
        # By nobody we know of: nothing proves this PIN, so the token is taken out of that login first.
        pass
    pkcs11.lib(path).reinitialize()
    return pkcs11.lib(path).get_token(token_label=label).open(user_pin=pin)


def _close(session: Any) -> None:
    # A session of a token that is gone cannot be closed any more, and need not be.
    from pkcs11 import PKCS11Error

    with suppress(PKCS11Error):
        session.close()


_tokens: dict[tuple[int, str, str], _Token] = {}
_tokens_lock = threading.Lock()


def _token(module: str, label: str) -> _Token:
    path = modules().get(module)
    if path is None:
        raise KmsMisconfigured(f"the operator of the proxy has set up no PKCS#11 module of this name ({MODULES})")
    with _tokens_lock:
        return _tokens.setdefault((os.getpid(), path, label), _Token(path, label))


def _wrapped(used: _UsedKey, key: bytes, aad: bytes) -> bytes:
    from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass

    ways = [way for way in used.ways_in() if way in used.ways_out()]
    if not ways:
        raise KmsMisconfigured("the key may neither encrypt with AES-GCM nor wrap with AES key wrap")
    if ways[0] == _GCM:
        nonce = os.urandom(_NONCE_BYTES)
        params = GCMParams(nonce, aad, _TAG_BITS)
        sealed = used.key.encrypt(key, mechanism=Mechanism.AES_GCM, mechanism_param=params)
        return bytes([_GCM]) + nonce + bytes(sealed)
    inner = used.session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
            Attribute.TOKEN: False,
            Attribute.SENSITIVE: False,
            Attribute.EXTRACTABLE: True,
            # Random bytes in front: key wrap is deterministic, and no two wraps may look alike.
            Attribute.VALUE: os.urandom(_SALT_BYTES) + key + hashlib.sha256(aad).digest(),
        }
    )
    try:
        return bytes([_KEY_WRAP_PAD]) + bytes(used.key.wrap_key(inner, mechanism=Mechanism.AES_KEY_WRAP_PAD))
    finally:
        inner.destroy()


def _unwrapped(used: _UsedKey, blob: bytes, aad: bytes) -> bytes:
    ways = used.ways_out()
    if not ways:
        raise KmsRefused
    if blob[0] not in ways:  # a changed byte, not a withdrawn permission: it must not look like a refusal
        raise KmsUnwrapFailed
    try:
        return _opened(used, blob, aad)
    except Exception as error:
        if code_of(error) not in _VAGUE:
            raise
    # Modules say this of a changed blob and of themselves. If the same key still does its work, it was the blob.
    trial = os.urandom(32)
    if _opened(used, _wrapped(used, trial, aad), aad) != trial:
        raise KmsUnreachable
    raise KmsUnwrapFailed


def _opened(used: _UsedKey, blob: bytes, aad: bytes) -> bytes:
    return _open_gcm(used, blob, aad) if blob[0] == _GCM else _open_wrap(used, blob, aad)


def _open_gcm(used: _UsedKey, blob: bytes, aad: bytes) -> bytes:
    from pkcs11 import GCMParams, Mechanism

    params = GCMParams(blob[1 : 1 + _NONCE_BYTES], aad, _TAG_BITS)
    return bytes(used.key.decrypt(blob[1 + _NONCE_BYTES :], mechanism=Mechanism.AES_GCM, mechanism_param=params))


def _open_wrap(used: _UsedKey, blob: bytes, aad: bytes) -> bytes:
    from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

    inner = used.key.unwrap_key(
        ObjectClass.SECRET_KEY,
        KeyType.GENERIC_SECRET,
        blob[1:],
        mechanism=Mechanism.AES_KEY_WRAP_PAD,
        store=False,
        template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
    )
    try:
        content = bytes(inner[Attribute.VALUE])
    finally:
        inner.destroy()
    bound = hmac.compare_digest(content[-_DIGEST_BYTES:], hashlib.sha256(aad).digest())
    if len(content) != _SALT_BYTES + 32 + _DIGEST_BYTES or not bound:
        raise KmsUnwrapFailed
    return content[_SALT_BYTES:-_DIGEST_BYTES]
