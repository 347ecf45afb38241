"""A tenant as requests see it: its keys, its SIEM, and which of them are on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar, cast

from encrypted_fields.core.errors import KmsConfigDisabled, NoPrimaryKms
from tsp import catalog
from tsp.audit.queue import WhenFull
from tsp.contract import options
from tsp.contract.tenant import Document, KmsBody, Leasing, SiemBody
from tsp.egress import Egress
from tsp.kms.base import KmsAdapter
from tsp.siem.base import Sink

_Made = TypeVar("_Made")


class ActiveKms:
    """One version of one key configuration. Its adapter is made on first use, once."""

    def __init__(self, document: Document, egress: Egress) -> None:
        body = cast(KmsBody, document.body)
        self.config, self.version = document.binding.config, document.binding.version
        self.created, self.provider = document.binding.created, body.provider
        self.primary: bool = body.primary
        self.leasing: Leasing = body.leasing
        self.options: Callable[[], Any] = lambda: _kms_options(body)
        self._made: _Once[KmsAdapter] = _Once(lambda: catalog.kms(body.provider)(_kms_options(body), egress))

    @property
    def adapter(self) -> KmsAdapter:
        return self._made.get()

    def check(self) -> None:
        """KeyError for an unknown provider, OptionError or ValueError for options that it does not take."""
        self.options()

    def close(self) -> None:
        """Let go of the adapter's connections, if it was ever used."""
        if self._made.value is not None:
            self._made.value.close()


class ActiveSiem:
    """One version of a tenant's SIEM configuration. Its sink is made on first use, once."""

    def __init__(self, document: Document, egress: Egress) -> None:
        body = cast(SiemBody, document.body)
        self.config, self.version = document.binding.config, document.binding.version
        self.created, self.provider = document.binding.created, body.provider
        self.when_full: WhenFull = body.when_full
        self.options: Callable[[], Any] = lambda: _siem_options(body)
        self._made: _Once[Sink] = _Once(lambda: catalog.sink(body.provider)(_siem_options(body), egress))

    def check(self) -> None:
        """KeyError for an unknown provider, OptionError or ValueError for options that it does not take."""
        self.options()

    @property
    def sink(self) -> Sink:
        return self._made.get()


class Tenant:
    """What one tenant has switched on. Immutable: a change makes a new one, so that a request sees one state."""

    __slots__ = ("_primary", "kms", "name", "siem", "vendor")

    def __init__(self, vendor: str, name: str, kms: Mapping[int, ActiveKms], siem: ActiveSiem | None) -> None:
        self.vendor, self.name, self.kms, self.siem = vendor, name, kms, siem
        marked = [one for one in kms.values() if one.primary]
        self._primary = max(marked, key=lambda one: (one.created, one.config), default=None)

    def primary(self) -> ActiveKms:
        """The key that new keys are wrapped with: the newest of those marked primary. NoPrimaryKms without one."""
        if self._primary is None:
            raise NoPrimaryKms
        return self._primary

    def kms_for(self, config: int) -> ActiveKms:
        """The key that an EDEK names. KmsConfigDisabled if it is off, unknown or another tenant's."""
        found = self.kms.get(config)
        if found is None:
            raise KmsConfigDisabled
        return found


def tenant_of(vendor: str, name: str, actives: Collection[ActiveKms | ActiveSiem], disabled: Collection[int]) -> Tenant:
    """The tenant made of what it has accepted, less what is disabled at the broker."""
    on = [active for active in actives if active.config not in disabled]
    siems = [active for active in on if isinstance(active, ActiveSiem)]
    newest = max(siems, key=lambda siem: (siem.created, siem.config), default=None)
    return Tenant(vendor, name, {kms.config: kms for kms in on if isinstance(kms, ActiveKms)}, newest)


def _kms_options(body: KmsBody) -> Any:
    return options.load(catalog.kms(body.provider).Config, body.options)


def _siem_options(body: SiemBody) -> Any:
    return options.load(catalog.sink(body.provider).Config, body.options)


class _Once(Generic[_Made]):
    """Makes a thing when it is first asked for; several threads get the same one."""

    def __init__(self, make: Callable[[], _Made]) -> None:
        self._make, self._lock = make, threading.Lock()
        self.value: _Made | None = None

    def get(self) -> _Made:
        with self._lock:
            if self.value is None:
                self.value = self._make()
            return self.value
