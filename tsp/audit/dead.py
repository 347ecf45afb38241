"""Dead letters of the spool: events that their receiver will never take, with the reason, and the way back."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from tsp.contract import events
from tsp.contract.events import AuditEvent


class DeadLetter(msgspec.Struct, frozen=True):
    """An event that was given up, why, and when (ISO 8601 UTC)."""

    event: AuditEvent
    reason: str
    time: str


_letter = msgspec.json.Decoder(DeadLetter)


def letter(event: AuditEvent, reason: str) -> bytes:
    return msgspec.json.encode(DeadLetter(event, reason, events.timestamp()))


def read_letter(line: bytes) -> DeadLetter:
    """ValueError for anything else."""
    return _letter.decode(line)


class DeadFiles:
    """One file of JSON lines a queue in `folder`. Another process may list them and mark them for another try."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder

    def add(self, queue: str, event: AuditEvent, reason: str) -> None:
        """Durable when it returns."""
        with open(self.folder / f"{queue}.jsonl", "ab") as file:
            file.write(letter(event, reason) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def queues(self) -> list[str]:
        return sorted(path.name.removesuffix(".jsonl") for path in self.folder.glob("*.jsonl"))

    def letters(self, queue: str) -> list[DeadLetter]:
        path = self.folder / f"{queue}.jsonl"
        return _read(path) if path.exists() else []

    def redrive(self, queue: str) -> int:
        """Let the proxy try them again: how many. It takes them back within seconds."""
        count = len(self.letters(queue))
        if count:
            os.rename(self.folder / f"{queue}.jsonl", self.folder / f"{queue}.{events.new_id()}.again")
        return count

    def returning(self) -> list[tuple[str, list[AuditEvent], Path]]:
        """What `redrive` marked: queue, events, and the file to delete when they are in the trail again."""
        return [
            (path.name.rsplit(".", 2)[0], [letter.event for letter in _read(path)], path)
            for path in sorted(self.folder.glob("*.again"))
        ]


def _read(path: Path) -> list[DeadLetter]:
    lines = path.read_bytes().split(b"\n")
    return [read_letter(line) for line in lines[:-1]]  # what follows the last newline was never written whole
