"""Who takes part: proxies, workers, Redis, a portal's feed, key services and log servers, each behind a fault proxy."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from tests.chaos.evidence import PROXIES, TENANTS, WORKERS, Alone, Customer, Disturbed, Evidence, Shift
from tests.support.aws_kms import AwsKmsDouble, body_for
from tests.support.fault_proxy import FaultProxy
from tests.support.feed import FeedServer
from tests.support.hec import Hook
from tests.support.people import document, sealed_record
from tests.support.processes import Process
from tests.support.proxy import worker
from tests.support.redis import Redis
from tests.support.saas import Call, boot
from tests.support.watched import Watched
from tsp.contract.tenant import KmsBody, Leasing, SiemBody
from tsp.leases.cache import ALONE

_SECRET = "whsec_" + base64.b64encode(b"the signing secret of the soak!!").decode()
# who wraps directly, and policies from the longest to the shortest
_POLICIES = (Leasing(True), Leasing(), Leasing(True, 60, 600), Leasing(), Leasing(True, 30, 0))


@dataclass
class Stage:
    """Everything running. `stop` ends it. What was done to it is in `disturbed` and `shifts`."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="cmk-chaos-")))
    disturbed: list[Disturbed] = field(default_factory=list)
    shifts: list[Shift] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)  # seconds from the start of a killed proxy until it was ready

    def __post_init__(self) -> None:
        self._began, self._walls = time.time(), [0.0]
        self.redis = Redis()
        self.to_redis = FaultProxy(self.redis.port)
        self.kms = [AwsKmsDouble() for _ in range(4)]
        self.to_kms = [FaultProxy(double.port) for double in self.kms]
        self.siems = [Hook(_SECRET) for _ in range(3)]
        self.to_siems = [FaultProxy(int(hook.url.rpartition(":")[2])) for hook in self.siems]
        self.feed = FeedServer()
        self.customers = [
            Customer(f"tenant-{at:02d}", at, _POLICIES[at % len(_POLICIES)], at % len(self.kms))
            for at in range(TENANTS)
        ]
        for customer in self.customers:
            self.publish(customer)
            body = SiemBody("webhook", {"url": self._siem_url(customer.number), "secret": _SECRET})
            record = sealed_record(document(customer.name, 200 + customer.number, body=body))
            self.feed.records.append(replace(record, sequence=len(self.feed.records) + 1))
        self._settings = {"TSP_REDIS_URL": f"redis://127.0.0.1:{self.to_redis.port}/0"}
        self.proxies: dict[str, Watched] = {}
        for at in range(PROXIES):
            name = f"tsp-{at + 1}"
            (self.folder / name).mkdir()
            self.proxies[name] = Watched(self.folder / name, self.feed, TSP_NAME=name, **self._settings)
        self.workers = [self._worker(at) for at in range(WORKERS)]
        for proxy in self.proxies.values():
            proxy.ready()

    def publish(self, customer: Customer) -> None:
        """The tenant seals the next version of its key service's configuration."""
        if customer.record is not None:
            customer.version += 1
        previous = customer.record.hash if customer.record else ""
        made = document(
            customer.name, customer.config, body=self._kms_body(customer), version=customer.version,
            previous=previous,
        )  # fmt: skip
        customer.record = sealed_record(made, sequence=len(self.feed.records) + 1)
        self.feed.records.append(customer.record)

    def name_of(self, port: int) -> str:
        return next(name for name, proxy in self.proxies.items() if proxy.port == port)

    def restart_proxy(self, name: str) -> None:
        """SIGKILL, and a new process on the same folder."""
        began = boot()
        proxy = self.proxies[name]
        proxy.kill()
        killed = boot()
        proxy.start()
        proxy.ready()
        self.restarts.append(boot() - killed)
        self.disturbed.append(Disturbed(name, began, boot()))

    def restart_worker(self, at: int) -> None:
        """SIGKILL for all of its processes, and a new one."""
        self._kill_worker(at)
        self.workers[at] = self._worker(at)

    def restart_redis(self, seconds: float) -> None:
        began = boot()
        self.redis.kill()
        time.sleep(seconds)
        self.redis.start()
        self.disturbed.append(Disturbed("redis", began, boot()))

    def shift(self, name: str, seconds: float, wall: float) -> None:
        self.proxies[name].shift(boot=seconds, wall=wall)
        self.shifts.append(Shift(name, boot(), seconds))
        self._walls.append(self.proxies[name].wall_ahead)

    def parted(self) -> list[str]:
        """Tenants for whom two proxies wrap under different leased keys now, in the same 30 days."""
        keys: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        customers = {customer.name: customer for customer in self.customers}
        for proxy in self.proxies.values():
            for lease in json.loads(proxy.get("/leases")[1])["leases"]:
                if lease["wraps"]:
                    number = customers[lease["tenant"]].epoch(time.time() + proxy.wall_ahead)
                    keys[lease["tenant"], number].add(lease["key"])
        return sorted({name for (name, _), found in keys.items() if len(found) > 1})

    def alone(self) -> list[Alone]:
        """Each time that a proxy said that it wraps under a leased key alone."""
        ahead = time.time() - boot()
        return [
            Alone(name, datetime.fromisoformat(said["time"]).timestamp() - ahead, said["tenant"], said["edek"])
            for name, proxy in self.proxies.items()
            for line in proxy.process.output().splitlines()
            if ALONE in line and (said := json.loads(line))
        ]

    def evidence(self, calls: Sequence[Call]) -> Evidence:
        """All of it, when the load has ended."""
        return Evidence(
            calls=calls,
            asked=[one for double in self.kms for one in list(double.log)],
            customers=self.customers,
            ports={proxy.port: name for name, proxy in self.proxies.items()},
            walls=(self._began + min(self._walls), time.time() + max(self._walls)),
            events=[event for hook in self.siems for event in list(hook.events)],
            reports=list(self.feed.reports),
            shifts=list(self.shifts),
            disturbed=list(self.disturbed),
            alone=self.alone(),
        )

    def stop(self) -> None:
        for at in range(len(self.workers)):
            self._kill_worker(at)
        for proxy in self.proxies.values():
            proxy.close()
        for network in (self.to_redis, *self.to_kms, *self.to_siems):
            network.stop()
        for double in (*self.kms, *self.siems, self.feed, self.redis):
            double.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _siem_url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.to_siems[number % len(self.to_siems)].port}/cmk"

    def _kms_body(self, customer: Customer) -> KmsBody:
        return body_for(customer.name, self.to_kms[customer.kms].port, leasing=customer.leasing)

    def _worker(self, at: int) -> Process:
        folder = self.folder / f"worker-{at}"
        folder.mkdir(exist_ok=True)
        beat = ["--beat", "--schedule", str(folder / "beat")] if at == 0 else []
        return worker(folder, self.feed, "--concurrency", "1", *beat, TSP_NAME=f"worker-{at}", **self._settings)

    def _kill_worker(self, at: int) -> None:
        process = self.workers[at]
        if process.child.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.stop()
