"""Putting the data plane together: which object stands on which. Used by the proxy, by the sandbox and by tests."""

from __future__ import annotations

from dataclasses import dataclass

from tsp.app import DataPlane
from tsp.auth import ApiKeys
from tsp.clock import Clock, SystemClock
from tsp.derive import Derivation, SecretStore
from tsp.gate import KmsGate
from tsp.guard import Guard
from tsp.keyring import Keyring
from tsp.leases.agreement import Agreement
from tsp.leases.cache import Leases
from tsp.leases.journal import Journal
from tsp.leases.renewal import Notices, Renewal
from tsp.limits import Limits
from tsp.ports import Directory, Trail
from tsp.service import Service
from tsp.witness import Witness


@dataclass(frozen=True, slots=True)
class Plane:
    """The parts that others look at: the application, and what keeps its leases."""

    app: DataPlane
    gate: KmsGate
    leases: Leases
    renewal: Renewal

    def close(self) -> None:
        """Wipe every leased key and let the threads go."""
        self.leases.wipe()
        self.gate.close()


def build(
    *,
    vendor: str,
    name: str,
    keys: ApiKeys,
    directory: Directory,
    trail: Trail,
    agreement: Agreement,
    secrets: SecretStore,
    notices: Notices | None = None,
    clock: Clock | None = None,
    limits: Limits = Limits(),  # noqa: B008  frozen
) -> Plane:
    """`notices` is what a fleet tells each other through Redis; without it the process is alone."""
    gate = KmsGate()
    times = clock or SystemClock()
    leases = Leases(gate, agreement, Journal(trail, vendor, name), times)
    keyring, witness = Keyring(gate, leases), Witness(trail, name)
    service = Service(directory, keyring, witness)
    door = Guard(keys, directory, witness, limits, times.boot)
    app = DataPlane(service, Derivation(directory, keyring, secrets, witness), door)
    return Plane(app, gate, leases, Renewal(leases, directory, notices))
