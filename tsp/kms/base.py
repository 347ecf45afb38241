"""What every key service is to the proxy: wrap and unwrap 32 bytes for a context, and name its own failures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, final

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.errors import (
    KmsError,
    KmsMisconfigured,
    KmsUnreachable,
    KmsUnwrapFailed,
    KmsWrapFailed,
)
from encrypted_fields.core.memory import erase, wipe
from tsp.egress import Egress, EgressDenied, EgressFailed

MAX_BLOB = 2048


class KmsAdapter(ABC):
    """Wraps and unwraps keys under a key that the tenant holds. Blocking; called from a bounded pool of threads.

    A provider is one file: a `Config` dataclass of `option(…)` fields, `_wrap`, `_unwrap`, `translate`. It uses the
    credentials in `config` and none other, and opens connections only through `egress`.
    """

    Config: ClassVar[type]
    label: ClassVar[str]

    def __init__(self, config: Any, egress: Egress) -> None:
        self.config = config
        self.egress = egress

    @final
    def wrap(self, key: bytes | bytearray | memoryview, context: KeyContext) -> bytes:
        """The key service's own ciphertext of `key`, bound to `context`, at most 2,048 bytes."""
        try:
            blob = self._wrap(key, context)
            failure: KmsError | None = None if 0 < len(blob) <= MAX_BLOB else KmsWrapFailed()
        except Exception as error:
            failure = self._named(error)
        if failure is not None:
            raise failure  # outside the except block: an SDK's exception may hold the request
        return blob

    @final
    def unwrap(self, blob: bytes, context: KeyContext) -> bytearray:
        """The 32 bytes that were wrapped. KmsUnwrapFailed for a blob or context that does not fit."""
        try:
            key = self._unwrap(blob, context)
            failure: KmsError | None = None if len(key) == 32 else KmsUnwrapFailed()
        except Exception as error:
            failure = self._named(error)
        if failure is not None:
            raise failure
        own = bytearray(key)
        erase(key) if isinstance(key, bytes) else wipe(key)  # a leased key must not lie about when it is wiped (T-20)
        return own

    def close(self) -> None:  # noqa: B027  most have nothing to let go of
        """Let go of connections and sessions; the adapter is not used again."""

    @abstractmethod
    def _wrap(self, key: bytes | bytearray | memoryview, context: KeyContext) -> bytes: ...

    @abstractmethod
    def _unwrap(self, blob: bytes, context: KeyContext) -> bytes | bytearray:
        """Bytes that nobody else holds: they are zeroed once they were taken over."""

    @abstractmethod
    def translate(self, error: Exception) -> KmsError:
        """The provider's error in our words, by its code, never by its text; its payload is not quoted.

        Refused only for what the provider documents as a refusal; anything unknown is KmsUnreachable, never success.
        """

    def _named(self, error: Exception) -> KmsError:
        if isinstance(error, EgressDenied):
            return KmsMisconfigured(f"the key service may not be called: {error}")
        if isinstance(error, EgressFailed):
            return KmsUnreachable()
        named = error if isinstance(error, KmsError) else self.translate(error)
        # No trace, no chain: an adapter's frames and an SDK's exception hold keys, credentials and requests.
        named.__cause__ = named.__context__ = None
        return named.with_traceback(None)
