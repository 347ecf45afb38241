"""What the portal may know of the providers: kinds, labels, options. Loads no cloud SDK."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, cast

from tsp.contract.options import describe
from tsp.kms import ADAPTERS
from tsp.kms.base import KmsAdapter
from tsp.siem import SINKS
from tsp.siem.base import Sink


@cache
def kms(kind: str) -> type[KmsAdapter]:
    """The adapter class of a kind; KeyError for an unknown one."""
    return cast(type[KmsAdapter], _imported(ADAPTERS[kind]))


@cache
def sink(kind: str) -> type[Sink]:
    """The sink class of a kind; KeyError for an unknown one."""
    return cast(type[Sink], _imported(SINKS[kind]))


def forms(kind: str) -> list[dict[str, Any]]:
    """For "kms" or "siem": one {kind, label, options} a provider, as the portal draws them."""
    names, load = (ADAPTERS, kms) if kind == "kms" else (SINKS, sink)
    return [{"kind": name, "label": load(name).label, "options": describe(load(name).Config)} for name in names]


def _imported(path: str) -> type:
    module, _, name = path.rpartition(".")
    return cast(type, getattr(import_module(module), name))
