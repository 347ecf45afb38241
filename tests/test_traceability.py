"""Q-13: each requirement that binds the proxy's reliability is named by a test, and no test names one that is unknown.

T: threats, R: reliability, Q: how it is tested. What each says in short is in docs/threats.md and docs/operations.md.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent
KNOWN = {"T": 23, "R": 34, "Q": 15}
BINDING = [f"R-{number}" for number in (*range(1, 9), 13, 14, *range(25, 34))] + ["T-14", "T-16", "T-17", "T-20"]
_ID = re.compile(r"\b([TRQ])-(\d+)\b")
_RANGE = re.compile(r"\b([TRQ])-(\d+) to \1-(\d+)\b")


def _docstrings() -> Iterator[tuple[str, str, bool]]:
    """(where, text, whether it is a test's own) of each docstring in a file of tests."""
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        where = str(path.relative_to(TESTS))
        yield where, ast.get_docstring(tree) or "", False
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield f"{where}::{node.name}", ast.get_docstring(node) or "", True


def _ids(text: str) -> set[str]:
    found = {f"{kind}-{number}" for kind, number in _ID.findall(text)}
    for kind, first, last in _RANGE.findall(text):
        found |= {f"{kind}-{number}" for number in range(int(first), int(last) + 1)}
    return found


def test_each_binding_requirement_is_named_by_a_test() -> None:
    """In its own docstring: that of a file promises nothing."""
    named = {identity for _, text, is_test in _docstrings() if is_test for identity in _ids(text)}
    assert sorted(set(BINDING) - named) == []


def test_no_test_names_a_requirement_that_does_not_exist() -> None:
    unknown = {
        (where, identity)
        for where, text, _ in _docstrings()
        for identity in _ids(text)
        if not 1 <= int(identity[2:]) <= KNOWN[identity[0]]
    }
    assert unknown == set()
