"""docs/formats.md shows the frozen vectors: its examples are compared byte by byte."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.vectors import corpus

PAGE = (Path(__file__).parent.parent.parent / "docs" / "formats.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(hex|json) (\w+)/([\w-]+):(\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def _vector(file: str, name: str, member: str) -> Any:
    found: Any = {vector["name"]: vector for vector in corpus.load(file)}[name]
    for part in member.split("."):
        found = found[part]
    return base64.b64decode(found).hex() if member.startswith("record.boxes") else found


@pytest.mark.parametrize(("kind", "file", "name", "member", "text"), BLOCKS, ids=lambda part: part[:30])
def test_an_example_is_its_vector(kind: str, file: str, name: str, member: str, text: str) -> None:
    expected = _vector(file, name, member)
    if kind == "json":
        assert json.loads(text) == json.loads(expected)
    else:
        assert "".join(line.split("#")[0].strip() for line in text.splitlines()) == expected


def test_every_format_has_an_example() -> None:
    shown = {(file, name) for _, file, name, _, _ in BLOCKS}
    assert shown >= {
        ("context", "worked-example"), ("value", "row-bound"), ("file", "small"), ("edek", "two-level"),
        ("edek", "leased"), ("sealed", "kms"), ("event", "refused"),
        ("index", "exact"),
    }  # fmt: skip


def test_every_label_in_the_code_is_on_the_page() -> None:
    """A new use of the canonical encoding is a new format, and belongs there."""
    root = Path(__file__).parent.parent.parent
    code = [path.read_text() for folder in ("encrypted_fields", "tsp") for path in (root / folder).rglob("*.py")]
    labels = {label for text in code for label in re.findall(r'"(cmk/[a-z/]+/\d+)"', text)}
    assert labels
    assert {label for label in labels if f"`{label}`" not in PAGE} == set()
