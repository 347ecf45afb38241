"""The spool against lists in memory, in every order that Hypothesis thinks of."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from encrypted_fields.core.errors import AuditUnavailable
from tests.support.people import event
from tsp.audit.spool import SpoolTrail
from tsp.contract.events import AuditEvent


class SpoolModel(RuleBasedStateMachine):
    """The spool against lists in memory: record, read, acknowledge, restart, crash in the middle of a write."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.model: dict[str, list[AuditEvent]] = defaultdict(list)
        self._open()

    def _open(self) -> None:
        self.trail = SpoolTrail(Path(self.folder.name), segment_bytes=1_500, max_bytes=6_000, max_events=40)

    @rule(tenants=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6), size=st.integers(0, 200))
    def record(self, tenants: list[str], size: int) -> None:
        made = [event(tenant=name, data_label="x" * size) for name in tenants]
        try:
            self.loop.run_until_complete(self.trail.record(made))
        except AuditUnavailable:
            assert sum(map(len, self.model.values())) >= 4
            return
        for one in made:
            self.model[one.tenant].append(one)

    @rule(queue=st.sampled_from(["a", "b", "c"]), skip=st.integers(0, 2), count=st.integers(1, 8))
    def ack(self, queue: str, skip: int, count: int) -> None:
        entries = self.loop.run_until_complete(self.trail.read(queue, skip + count))[skip:]
        self.loop.run_until_complete(self.trail.ack(queue, [entry.key for entry in entries]))
        gone = {entry.event.id for entry in entries}
        self.model[queue] = [one for one in self.model[queue] if one.id not in gone]

    @rule()
    def restart(self) -> None:
        self.trail.close()
        self._open()

    @rule(garbage=st.binary(max_size=60), reserved=st.sampled_from([0, 1, 700]))
    def crash_in_the_middle_of_a_write(self, garbage: bytes, reserved: int) -> None:
        self.trail.close()
        paths = sorted(Path(self.folder.name).glob("*.segment"))
        for path in paths[-1:]:
            path.write_bytes(path.read_bytes() + garbage + bytes(reserved))
        self._open()

    @invariant()
    def holds_exactly_what_it_was_given(self) -> None:
        for queue in "abc":
            found = [entry.event for entry in self.loop.run_until_complete(self.trail.read(queue, 1_000))]
            assert sorted(found, key=lambda one: one.id) == sorted(self.model[queue], key=lambda one: one.id)
        assert self.trail.pending == sum(map(len, self.model.values()))
        on_disk = 0
        for path in Path(self.folder.name).glob("*.segment"):
            with suppress(FileNotFoundError):  # deleted while we look
                on_disk += path.stat().st_size
        assert on_disk < 20_000

    def teardown(self) -> None:
        self.trail.close()
        self.loop.close()
        self.folder.cleanup()


TestSpoolModel = pytest.mark.timeout(300)(SpoolModel.TestCase)
TestSpoolModel.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
