"""A sealed file of 64 MiB beside raw AESGCM over 64 KiB chunks, with the memory that each takes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.rounds import Table, clocked, compare
from encrypted_fields.core.context import ValueContext
from encrypted_fields.core.stream import CHUNK, SEALED_CHUNK, OpeningReader, SealingReader

KEY, PLACE = bytes(range(32)), ValueContext("clinic-a", "clinic.Patient", "scan", b"1")


def tables(quick: bool) -> list[Table]:
    size = (8 if quick else 64) * 1024 * 1024
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plain").write_bytes(os.urandom(size))
        for work in WORKS.values():
            work(folder)  # writes what the opening ones read
        table = compare(
            f"A file of {size >> 20} MiB, from disk to disk",
            "ms",
            {name: clocked(lambda work=work: work(folder)) for name, work in WORKS.items()},  # type: ignore[misc]
            3 if quick else 7,
        )
        growth = {name: _growth(folder, name) for name in WORKS}
    shown = "; ".join(f"{name} {grown / 1024:.1f} MiB" for name, grown in growth.items() if grown is not None)
    table.notes.append(f"peak memory beyond the start: {shown or 'not known on this system'}")
    return [table]


def _seal_raw(folder: Path) -> None:
    key = AESGCM(KEY)
    with (folder / "plain").open("rb") as source, (folder / "raw").open("wb") as target:
        number = 0
        while chunk := source.read(CHUNK):
            target.write(key.encrypt(number.to_bytes(12, "big"), chunk, None))
            number += 1


def _open_raw(folder: Path) -> None:
    key = AESGCM(KEY)
    with (folder / "raw").open("rb") as source:
        number = 0
        while chunk := source.read(SEALED_CHUNK):
            key.decrypt(number.to_bytes(12, "big"), chunk, None)
            number += 1


def _seal(folder: Path) -> None:
    with (folder / "plain").open("rb") as source, (folder / "sealed").open("wb") as target:
        reader = SealingReader(source, KEY, b"EDEK", PLACE)
        while chunk := reader.read(CHUNK):
            target.write(chunk)


def _open(folder: Path) -> None:
    with (folder / "sealed").open("rb") as source:
        reader = OpeningReader(source, KEY, PLACE)
        while reader.read(CHUNK):
            pass


def _range(folder: Path) -> None:
    """1 KiB from the middle: one chunk and the last are opened, nothing else."""
    with (folder / "sealed").open("rb") as source:
        reader = OpeningReader(source, KEY, PLACE)
        reader.seek(reader.size // 2, io.SEEK_SET)
        reader.read(1024)


WORKS: dict[str, Callable[[Path], None]] = {
    "seal, raw AESGCM": _seal_raw,
    "seal, SealingReader": _seal,
    "open, raw AESGCM": _open_raw,
    "open, OpeningReader": _open,
    "1 KiB from the middle": _range,
}


def _growth(folder: Path, name: str) -> float | None:
    """KiB by which a fresh process grows while it does this work; None where the system does not tell."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    child = [sys.executable, "-m", "bench.files", str(folder), name]
    return float(subprocess.run(child, capture_output=True, text=True, check=True, timeout=120).stdout)


def _memory(name: str) -> int:
    """KiB, from Linux's own books: "VmRSS" is now, "VmHWM" the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: imports are not counted
    before = _memory("VmRSS")
    WORKS[sys.argv[2]](Path(sys.argv[1]))
    print(_memory("VmHWM") - before)
