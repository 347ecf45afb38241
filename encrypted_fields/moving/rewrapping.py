"""New EDEKs for old, by the tenant's primary configuration of today: 1,000 in a call, and no key is opened here."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from encrypted_fields import client
from encrypted_fields.core.errors import WITHDRAWN, CmkError, InvalidCiphertext
from encrypted_fields.core.memory import wipe
from encrypted_fields.core.protocol import Metadata
from encrypted_fields.moving.edek import facts
from encrypted_fields.moving.page import label_of
from encrypted_fields.moving.tally import Tally, patiently
from encrypted_fields.policy import permit
from encrypted_fields.tenancy import metadata

AT_ONCE = 8  # calls under way with `one_by_one`


class Rewrapping:
    """`every`: also keys that the primary configuration wrapped. `one_by_one`: a call for each key, for a proxy that
    knows the wire API only as IronCore published it."""

    def __init__(self, binding: Any, *, every: bool, one_by_one: bool) -> None:
        self.label, self.every = label_of(binding), every
        self._ask = self._singly if one_by_one else self._together
        self._primary: dict[str, int | CmkError] = {}

    def due(self, tenant: str, edek: bytes, tally: Tally) -> bool:
        """Raises why it cannot be said."""
        config = facts(edek).config
        return self.every or config != self._config(tenant, tally)

    def renewed(self, tenant: str, edeks: Sequence[bytes], tally: Tally) -> dict[bytes, bytes | CmkError]:
        """For each EDEK the new one, or the reason why there is none. It is `retryable` only when asking again for 15
        seconds did not help: whoever asked writes the others, and raises it."""
        about = permit(metadata(tenant, self.label, None), "decrypt")
        found = dict[bytes, bytes | CmkError]()

        def ask() -> None:
            waiting, later = [edek for edek in edeks if edek not in found], None
            for edek, one in zip(waiting, self._ask(about, waiting, tally), strict=True):
                if isinstance(one, CmkError) and one.retryable:
                    later = one
                else:
                    found[edek] = one
            if later is not None:
                raise later

        try:
            patiently(ask)
        except WITHDRAWN as error:
            return dict.fromkeys(edeks, error)
        except CmkError as error:
            if not error.retryable:
                raise
            return {edek: found.get(edek, error) for edek in edeks}
        return found

    @staticmethod
    def _together(about: Metadata, edeks: Sequence[bytes], tally: Tally) -> Sequence[bytes | CmkError]:
        tally.calls += 1
        return client.current().batch_rekey(about, edeks, about.tenant)

    @staticmethod
    def _singly(about: Metadata, edeks: Sequence[bytes], tally: Tally) -> Sequence[bytes | CmkError]:
        tally.calls += len(edeks)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(partial(_one, about), edeks))

    def _config(self, tenant: str, tally: Tally) -> int:
        """The number of the tenant's primary configuration, as a new key tells it. Raises why there is none."""
        if tenant not in self._primary:
            about = permit(metadata(tenant, self.label, None), "encrypt")
            tally.calls += 1
            try:
                found = patiently(partial(client.current().wrap, about))
            except CmkError as error:
                if error.retryable or not isinstance(error, (*WITHDRAWN, InvalidCiphertext)):
                    raise
                self._primary[tenant] = error
            else:
                wipe(found.dek)
                self._primary[tenant] = facts(found.edek).config
        known = self._primary[tenant]
        if isinstance(known, CmkError):
            raise known
        return known


def _one(about: Metadata, edek: bytes) -> bytes | CmkError:
    try:
        found = client.current().rekey(about, edek, about.tenant)
    except CmkError as error:
        return error
    wipe(found.dek)
    return found.edek
