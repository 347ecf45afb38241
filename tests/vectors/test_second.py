"""A second implementation (second.mjs, WebCrypto) reads the vectors as ours does, from the formats' page alone."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.interop.runtime import NODE
from tests.vectors import corpus

SECOND = Path(__file__).parent / "second.mjs"


@pytest.mark.parametrize("name", corpus.FILES)
def test_the_second_implementation_agrees_on_every_vector(name: str, tmp_path: Path) -> None:
    vectors = corpus.load(name)
    listed = tmp_path / "vectors.json"
    listed.write_text(json.dumps(vectors))
    done = subprocess.run([NODE, SECOND, name, listed], capture_output=True, text=True, timeout=60, check=True)
    answers = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert len(answers) == len(vectors)
    for vector in vectors:
        answer = answers[vector["name"]]
        if vector["expect"] == "refused":
            assert answer == "refused", vector["comment"]
        else:
            assert answer.startswith("opens "), vector["comment"]
            _agree(name, vector, bytes.fromhex(answer.removeprefix("opens ")))


def _agree(name: str, vector: dict[str, Any], found: bytes) -> None:
    if name == "event":
        whole = json.loads(vector["line"])
        members = ["id", "time", "vendor", "tenant", "action", "outcome"]
        assert json.loads(found) == [whole[member] for member in members]
    elif "plaintext_sha256" in vector:
        assert hashlib.sha256(found).hexdigest() == vector["plaintext_sha256"]
    elif name == "sealed":
        assert found.decode() == vector["document"]
    else:
        assert found.hex() == vector[{"context": "bytes", "edek": "dek", "index": "stored"}.get(name, "plaintext")]
