"""The keys of blind indexes: derived by the proxy from the tenant's secret, kept for seconds, forgotten on refusal.

A rotation makes a new secret while the old one still answers. Another process may not know the new one for as long as
it keeps keys, and would not find what is written with it. So a process writes with a new secret only once it has known
it for that long itself.
"""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.core.signals import setting_changed

from encrypted_fields import client
from encrypted_fields.core.blind import index_key, ready
from encrypted_fields.core.errors import WITHDRAWN
from encrypted_fields.core.memory import SecretBytes
from encrypted_fields.tenancy import metadata

KIND: Final = "search"
SECRET: Final = "encrypted_fields"  # noqa: S105 - a path, not a secret
PATH: Final = "index/1"
LABEL: Final = "blind index"

_clock: Callable[[], float] = time.monotonic  # with the next, the one seam for time
_sleep: Callable[[float], None] = time.sleep


class Secret(NamedTuple):
    """One tenant secret that answers: its number, what was derived from it, whether the proxy encrypts with it, and
    since when this process knows it."""

    number: int
    key: SecretBytes
    current: bool
    since: float
    macs: dict[Any, hmac.HMAC]  # made of the key, by index

    def mac(self, tenant: str, places: tuple[tuple[str, str], ...], name: str) -> hmac.HMAC:
        """For core.blind: the key of one index of this tenant."""
        found = self.macs.get((places, name))
        if found is None:
            found = self.macs[places, name] = ready(index_key(self.key.view(), tenant, places, name))
        return found


@dataclass(frozen=True, slots=True)
class Live:
    """The tenant's secrets that answer, the newest first: numbers are given in order. It is not the current one yet in
    the first half minute of a rotation."""

    secrets: tuple[Secret, ...]
    seconds: float

    @property
    def newest(self) -> Secret:
        return self.secrets[0]

    @property
    def oldest(self) -> Secret:
        return self.secrets[-1]

    @property
    def writing(self) -> Secret:
        """What new values are indexed with."""
        current = next(one for one in self.secrets if one.current)
        return current if _clock() - current.since >= self.seconds else self.oldest

    @property
    def settled(self) -> bool:
        """Whether new values are indexed with the newest secret: a rotation may then go through the rows."""
        return self.writing is self.newest


class _Held(NamedTuple):
    service: client.KeyService
    pid: int
    until: float
    live: Live


_held: OrderedDict[str, _Held] = OrderedDict()
_lock = threading.Lock()


@lru_cache(maxsize=1)
def bounds() -> tuple[float, int]:
    """CMK_INDEX_KEY_SECONDS (60; 0 asks for every statement) and CMK_INDEX_KEY_TENANTS (200)."""
    seconds = float(getattr(settings, "CMK_INDEX_KEY_SECONDS", 60))
    tenants = int(getattr(settings, "CMK_INDEX_KEY_TENANTS", 200))
    return max(seconds, 0.0), max(tenants, 1)


def live(tenant: str) -> Live:
    """The tenant's secrets. Raises what the proxy says: a tenant that withdrew access cannot be searched."""
    seconds, most = bounds()
    service, now = client.current(), _clock()
    with _lock:
        held = _held.get(tenant)
        if held is not None and held.service is service and held.pid == os.getpid() and now < held.until:
            _held.move_to_end(tenant)
            return held.live
    known = {} if held is None or held.service is not service else {one.number: one.since for one in held.live.secrets}
    try:
        found = Live(_derived(service, tenant, now, known), seconds)
    except WITHDRAWN:
        forget(tenant)
        raise
    with _lock:
        _held[tenant] = _Held(service, os.getpid(), now + seconds, found)
        _held.move_to_end(tenant)
        while len(_held) > most:
            _held.popitem(last=False)
    return found


def settle(tenant: str) -> Live:
    """As `live`, once new values are indexed with the newest secret everywhere: waits while a rotation begins, for as
    long as other processes may not know that secret. RuntimeError when the proxy does not come to use it."""
    found = live(tenant)
    waited = 0.0
    while not found.settled:
        if waited > found.seconds + 120:
            raise RuntimeError("the proxy does not encrypt with the new tenant secret yet: run this again later")
        _sleep(1.0)
        waited += 1.0
        found = live(tenant)
    return found


def forget(tenant: str | None = None) -> None:
    """Drop what is kept of one tenant, or of all. The pages are wiped as soon as no statement uses them any more."""
    with _lock:
        if tenant is None:
            _held.clear()
        else:
            _held.pop(tenant, None)


def _derived(service: client.KeyService, tenant: str, now: float, known: dict[int, float]) -> tuple[Secret, ...]:
    derive = getattr(service, "derive", None)
    if derive is None:
        raise TypeError("the installed key service does not derive keys")
    reply = derive(metadata(tenant, LABEL, None), {SECRET: [PATH]}, KIND)
    found = [
        Secret(one.secret, SecretBytes.take(one.key), one.current, known.get(one.secret, now), {})
        for one in reply.keys[SECRET][PATH]
    ]
    return tuple(sorted(found, key=lambda one: -one.number))


def _changed(*, setting: str, **_: object) -> None:
    if setting.startswith("CMK_"):
        bounds.cache_clear()
        forget()


setting_changed.connect(_changed, dispatch_uid="encrypted_fields.index_keys")
