"""The frozen vectors by file, and how a large one is derived from another."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
FILES = ("context", "value", "file", "edek", "sealed", "event", "client", "index")


def load(name: str) -> list[dict[str, Any]]:
    """The vectors of one file, each large one with its bytes worked out under "sealed"."""
    vectors: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    found = {vector["name"]: vector for vector in vectors}
    assert len(found) == len(vectors)
    for vector in vectors:
        if "sealed64" in vector:
            vector["sealed"] = base64.b64decode(vector["sealed64"]).hex()
        if "of" in vector:
            vector["sealed"] = _edited(bytes.fromhex(found[vector["of"]]["sealed"]), *vector["edit"]).hex()
    return vectors


def _edited(data: bytes, what: str, *values: Any) -> bytes:
    if what == "keep":
        return data[values[0] : values[1]]
    if what == "drop":
        return data[: values[0]] + data[values[1] :]
    if what == "flip":
        return data[: values[0]] + bytes([data[values[0]] ^ 1]) + data[values[0] + 1 :]
    assert what == "append"
    return data + bytes.fromhex(values[0])
