"""What the proxy keeps of its configurations on disk: sealed records and version marks, nothing open. R-13, T-5."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from tsp.configs.admission import Mark
from tsp.contract import sealed
from tsp.contract.sealed import Record
from tsp.contract.tenant import DocumentError

_RETIRED_SECONDS = 7 * 86_400
_log = logging.getLogger("tsp.configs")
Marked = tuple[str, str, int]  # tenant, kind and configuration: what a mark is of


def marked(record: Record) -> Marked:
    return record.tenant, record.kind, record.config


def retired_queue(record: Record) -> str:
    """The audit queue of what a SIEM is told after it was replaced."""
    return f"{record.tenant}~{record.config}~{record.version}"


class Shelf:
    """`folder`/sealed: the last good record of each configuration; waiting: newer ones that are tried again;
    retired: SIEMs that were replaced; marks.jsonl: a journal of marks and of how far the feed was read.

    Records are not forced to disk, marks are: a record that a power cut took is fetched again, since its mark is then
    without a record and `after` is read as 0.
    """

    def __init__(self, folder: Path) -> None:
        self._sealed, self._retired, self._journal = folder / "sealed", folder / "retired", folder / "marks.jsonl"
        self._waiting = folder / "waiting"
        for path in (self._sealed, self._retired, self._waiting):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.marks: dict[Marked, Mark] = {}
        self.after = 0
        self.disabled: set[int] = set()
        for line in self._lines():
            self._apply(line)

    def records(self) -> list[Record]:
        """The last good records. A damaged one is left out, and the feed is then read from its start."""
        found = [record for record in map(_read, self._sealed.glob("*.json")) if record is not None]
        for record in found:
            mark = self.marks.get(marked(record))
            if mark is None or mark.version < record.version:
                self.marks[marked(record)] = Mark(record.version, record.hash)
        if self.marks.keys() - {marked(record) for record in found}:
            self.after = 0
        self._rewrite()
        return found

    def keep(self, records: Collection[Record]) -> None:
        """Records that were accepted, and their marks, durable when it returns. OSError if the disk will not."""
        for record in records:
            _write(self._sealed / _name(marked(record)), _dump(record))
        self._append([_mark_line(marked(record), Mark(record.version, record.hash)) for record in records])
        for record in records:
            self.marks[marked(record)] = Mark(record.version, record.hash)

    def record(self, key: Marked) -> Record | None:
        """The last good record of a configuration."""
        return _read(self._sealed / _name(key))

    def waiting(self) -> list[Record]:
        """The records that `wait` put here."""
        return [record for record in map(_read, self._waiting.glob("*.json")) if record is not None]

    def wait(self, key: Marked, record: Record | None) -> None:
        """Keep a record that is to be tried again, or forget it: the feed will not send it a second time."""
        if record is None:
            (self._waiting / _name(key)).unlink(missing_ok=True)
        else:
            _write(self._waiting / _name(key), _dump(record))

    def note(self, after: int, disabled: Iterable[int]) -> None:
        """How far the feed was read, and what is switched off."""
        switched = set(disabled)
        if (after, switched) != (self.after, self.disabled):
            self._append([{"after": after, "disabled": sorted(switched)}])
            self.after, self.disabled = after, switched

    def retire(self, record: Record) -> None:
        """Keep a SIEM's record for the events that it is still owed; those of last week are thrown away."""
        for path in self._retired.glob("*.json"):
            if path.stat().st_mtime < time.time() - _RETIRED_SECONDS:
                path.unlink()
        _write(self._retired / f"{retired_queue(record)}.json", _dump(record))

    def retired(self, queue: str) -> Record | None:
        """The record that `retire` kept."""
        return _read(self._retired / f"{queue}.json")

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self._journal.exists():
            return
        for line in self._journal.read_bytes().split(b"\n"):
            try:
                found = json.loads(line) if line else None
            except ValueError:  # cut short by a crash: it was never relied on
                _log.warning("a line of %s is damaged and is left out", self._journal)
                continue
            if isinstance(found, dict):
                yield found

    def _apply(self, line: dict[str, Any]) -> None:
        if "after" in line:
            self.after, self.disabled = int(line["after"]), set(line["disabled"])
            return
        key, mark = (line["tenant"], line["kind"], line["config"]), Mark(line["version"], line["hash"])
        if key not in self.marks or self.marks[key].version < mark.version:
            self.marks[key] = mark

    def _append(self, lines: Iterable[dict[str, Any]]) -> None:
        # a newline first: what a crash cut short must not swallow the next line
        data = b"".join(b"\n" + json.dumps(line).encode() for line in lines) + b"\n"
        file = os.open(self._journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            written = 0
            while written < len(data):
                written += os.write(file, memoryview(data)[written:])
            os.fsync(file)
        finally:
            os.close(file)

    def _rewrite(self) -> None:
        lines = [_mark_line(key, mark) for key, mark in self.marks.items()]
        lines.append({"after": self.after, "disabled": sorted(self.disabled)})
        _write(self._journal, b"".join(json.dumps(line).encode() + b"\n" for line in lines), durable=True)


def _name(key: Marked) -> str:
    return f"{key[0]}~{key[2]}~{key[1]}.json"


def _mark_line(key: Marked, mark: Mark) -> dict[str, Any]:
    return {"tenant": key[0], "kind": key[1], "config": key[2], "version": mark.version, "hash": mark.hash}


def _dump(record: Record) -> bytes:
    return json.dumps(sealed.dump(record)).encode()


def _read(path: Path) -> Record | None:
    try:
        return sealed.load(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, DocumentError):
        _log.error("the sealed configuration in %s is damaged", path.name)
        return None


def _write(path: Path, data: bytes, *, durable: bool = False) -> None:
    new = path.with_name(path.name + ".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(new, path)
