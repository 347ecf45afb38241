"""What happens to them: one fault after another, drawn from a seed. At sockets, by signals, by what tenants do."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.chaos.evidence import Disturbed
from tests.chaos.stage import Stage
from tests.support.aws_kms import MODES, OK
from tests.support.fault_proxy import FaultProxy, Faults
from tests.support.saas import boot

NETWORK = {
    "latency": Faults(latency=0.3),
    "bandwidth": Faults(bandwidth=20_000),
    "slice": Faults(slice=3),
    "drop": Faults(drop=True),
    "reset": Faults(reset=True),
    "blackhole": Faults(blackhole=True),
    "half-close": Faults(half_close=True),
}
_JUMPS = (61.0, 331.0, 1_800.0, 3_601.0)
_SIEM_MODES = ("hang", "cut", "throttle", "busy")


class Chaos:
    """Draws faults. Each one lasts for some seconds in a thread of its own, so they overlap; `told` names them."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage, self.draw = stage, random.Random(seed)
        self.told: list[str] = []
        self.errors: list[BaseException] = []
        self._running: list[threading.Thread] = []
        self._busy: set[str] = set()  # what already has a fault of this kind
        self._kinds: list[Callable[[], tuple[str, str, Callable[[], None]]]] = [
            self._kill_proxy, self._kill_proxy, self._stop_proxy, self._kill_redis, self._redis_network,
            self._redis_network, self._kill_worker, self._stop_worker, self._kms_network, self._kms_network, self._key,
            self._key, self._key, self._key, self._siem, self._siem_network, self._jump, self._jump, self._feed_down,
            self._new_version, self._replay,
        ]  # fmt: skip

    def strike(self) -> str:
        """The next fault: what it is called."""
        while True:
            place, name, work = self.draw.choice(self._kinds)()
            if place not in self._busy:
                break
        self._busy.add(place)

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self.errors.append(error)
            finally:
                self._busy.discard(place)

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        self._running.append(thread)
        self.told.append(name)
        return name

    def end(self) -> None:
        """All faults are over, and all is well."""
        for thread in self._running:
            thread.join(60)
        for network in (self.stage.to_redis, *self.stage.to_kms, *self.stage.to_siems):
            network.tell()
        for hook in self.stage.siems:
            hook.mode = "ok"
        for customer in self.stage.customers:
            self.stage.kms[customer.kms].tell(customer.name, OK)
        self.stage.feed.raw = None

    def _proxy(self) -> str:
        return self.draw.choice(sorted(self.stage.proxies))

    def _kill_proxy(self) -> tuple[str, str, Callable[[], None]]:
        name = self._proxy()
        return name, f"kill -9 {name}", lambda: self.stage.restart_proxy(name)

    def _stop_proxy(self) -> tuple[str, str, Callable[[], None]]:
        name, seconds = self._proxy(), self.draw.uniform(1, 4)

        def work() -> None:
            with self._disturbed(name):
                child = self.stage.proxies[name].process.child
                child.send_signal(signal.SIGSTOP)
                time.sleep(seconds)
                child.send_signal(signal.SIGCONT)

        return name, f"SIGSTOP {name}", work

    def _kill_redis(self) -> tuple[str, str, Callable[[], None]]:
        seconds = self.draw.uniform(0.2, 4)
        return "redis", "kill -9 redis", lambda: self.stage.restart_redis(seconds)

    def _redis_network(self) -> tuple[str, str, Callable[[], None]]:
        kind, seconds = self.draw.choice(sorted(NETWORK)), self.draw.uniform(2, 6)

        def work() -> None:
            with self._disturbed("redis"):
                _network(self.stage.to_redis, kind, seconds)

        return "redis", f"redis: {kind}", work

    def _kill_worker(self) -> tuple[str, str, Callable[[], None]]:
        at = self.draw.randrange(len(self.stage.workers))
        return f"worker-{at}", f"kill -9 worker-{at}", lambda: self.stage.restart_worker(at)

    def _stop_worker(self) -> tuple[str, str, Callable[[], None]]:
        at, seconds = self.draw.randrange(len(self.stage.workers)), self.draw.uniform(2, 6)

        def work() -> None:
            child = self.stage.workers[at].child
            child.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            child.send_signal(signal.SIGCONT)

        return f"worker-{at}", f"SIGSTOP worker-{at}", work

    def _kms_network(self) -> tuple[str, str, Callable[[], None]]:
        at, kind = self.draw.randrange(len(self.stage.kms)), self.draw.choice(sorted(NETWORK))
        seconds = self.draw.uniform(2, 8)
        return f"kms-{at}", f"key service {at}: {kind}", lambda: _network(self.stage.to_kms[at], kind, seconds)

    def _key(self) -> tuple[str, str, Callable[[], None]]:
        customer, seconds = self.draw.choice(self.stage.customers), self.draw.uniform(3, 15)
        mode, double = self.draw.choice([one for one in MODES if one != OK]), self.stage.kms[customer.kms]

        def work() -> None:
            double.tell(customer.name, mode)
            time.sleep(seconds)
            double.tell(customer.name, OK)

        return customer.name, f"{customer.name}: {mode}", work

    def _siem(self) -> tuple[str, str, Callable[[], None]]:
        at, mode, seconds = self.draw.randrange(len(self.stage.siems)), self.draw.choice(_SIEM_MODES), 4.0

        def work() -> None:
            hook = self.stage.siems[at]
            hook.mode = mode
            time.sleep(seconds)
            hook.mode = "ok"
            hook.released.set()
            hook.released = threading.Event()

        return f"siem-{at}", f"log server {at}: {mode}", work

    def _siem_network(self) -> tuple[str, str, Callable[[], None]]:
        at, kind = self.draw.randrange(len(self.stage.siems)), self.draw.choice(sorted(NETWORK))
        seconds = self.draw.uniform(2, 6)
        return f"siem-net-{at}", f"log server {at}: {kind}", lambda: _network(self.stage.to_siems[at], kind, seconds)

    def _jump(self) -> tuple[str, str, Callable[[], None]]:
        name, seconds = self._proxy(), self.draw.choice(_JUMPS)
        wall = self.draw.choice((seconds, seconds, 0.0, seconds - 3_600.0))
        return f"clock-{name}", f"{name}: {seconds:.0f} s pass", lambda: self.stage.shift(name, seconds, wall)

    def _feed_down(self) -> tuple[str, str, Callable[[], None]]:
        seconds, raw = self.draw.uniform(2, 8), self.draw.choice([(503, b""), (200, b"{"), (200, b"<html>")])

        def work() -> None:
            self.stage.feed.raw = raw
            time.sleep(seconds)
            self.stage.feed.raw = None

        return "feed", f"portal: {raw[0]} {raw[1].decode()}", work

    def _new_version(self) -> tuple[str, str, Callable[[], None]]:
        customer = self.draw.choice(self.stage.customers)
        return "record", f"{customer.name}: version {customer.version + 1}", lambda: self.stage.publish(customer)

    def _replay(self) -> tuple[str, str, Callable[[], None]]:
        """Who writes the portal's database brings back an older version (T-5)."""
        old = self.draw.choice([one for one in self.stage.feed.records if one.kind == "kms"])
        sequence = len(self.stage.feed.records) + 1
        again = type(old)(old.tenant, old.config, old.kind, old.version, old.boxes, sequence=sequence)
        return "record", f"{old.tenant}: version {old.version} again", lambda: self.stage.feed.records.append(again)

    @contextmanager
    def _disturbed(self, what: str) -> Iterator[None]:
        began = boot()
        yield
        self.stage.disturbed.append(Disturbed(what, began, boot()))


def _network(proxy: FaultProxy, kind: str, seconds: float) -> None:
    with proxy.told(NETWORK[kind]):
        time.sleep(seconds)
