"""What the documents say is what the code does: error tables, checks, links, commands."""

from __future__ import annotations

import inspect
import re
import subprocess
from pathlib import Path

import pytest

from broker import errors as broker_errors
from cmk_project import checks
from encrypted_fields.core import errors

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
_ABSTRACT = {errors.CmkError, errors.ServiceError, errors.KmsError}


def _rows(file: str) -> list[list[str]]:
    lines = (ROOT / file).read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def test_every_error_code_is_documented_as_it_is() -> None:
    written = {row[1]: (int(row[0]), int(row[2]), row[3]) for row in _rows("docs/errors.md") if row[0].isdigit()}
    classes = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.CmkError)]
    real = {
        cls.__name__: (cls.code, cls.http, "yes" if cls.retryable else "no") for cls in classes if cls not in _ABSTRACT
    }
    assert written == real


def test_every_row_of_the_error_tables_says_what_to_do() -> None:
    rows = [row for row in _rows("docs/errors.md") if row[0].isdigit() or row[0].startswith("cmk.")]
    assert all(len(row[-1]) > 10 and len(row[-2]) > 10 for row in rows)


def test_every_system_check_is_documented() -> None:
    written = {row[0] for row in _rows("docs/errors.md") if row[0].startswith("cmk.E")}
    real = {f"cmk.{number}" for number in re.findall(r'"(E\d{3})"', inspect.getsource(checks))}
    assert written == real


def test_the_portals_refusals_name_the_fix_or_the_rule() -> None:
    classes = [
        cls for _, cls in inspect.getmembers(broker_errors, inspect.isclass) if cls.__module__ == "broker.errors"
    ]
    assert len({cls.reason for cls in classes}) == len(classes)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    found = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
    missing = [link for link in found if "://" not in link and not (document.parent / link).exists()]
    assert missing == []


def test_the_readme_names_verbs_that_exist() -> None:
    verbs = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(
        re.findall(r"`?make ([a-z]+)", (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text())
    )
    assert named <= verbs
    assert {"setup", "run", "test", "check", "bench"} <= verbs


def test_each_decision_has_its_own_number_and_page() -> None:
    names = [path.name for path in (ROOT / "docs" / "adr").glob("*.md")]
    numbers = [name.split("-")[0] for name in names]
    assert len(set(numbers)) == len(numbers)
    for name in names:
        text = (ROOT / "docs" / "adr" / name).read_text()
        assert text.startswith(f"# {int(name.split('-')[0])}. "), name
        assert len(text.splitlines()) <= 80, f"{name} is longer than a page"


def test_no_file_names_where_packages_come_from() -> None:
    """A lock file with an address works only where that address does."""
    hosts = ["registry." + "npmjs", "pypi." + "org", "files." + "pythonhosted", "npm" + "mirror"]
    command = ["git", "grep", "--untracked", "-lIE", "|".join(hosts).replace(".", r"\.")]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout == ""
    locks = subprocess.run(
        ["git", "ls-files", "*package-lock.json"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert locks.stdout
    assert [name for name in locks.stdout.split() if '"resolved"' in (ROOT / name).read_text()] == []


def test_every_setting_is_in_the_operations_table() -> None:
    code = "".join(path.read_text() for path in (ROOT / "cmk_project" / "settings").glob("*.py"))
    real = set(re.findall(r'env\.\w+\(\s*"([A-Z0-9_]+)"', code))
    written = {row[0].strip("`") for row in _rows("docs/operations.md") if re.fullmatch("`[A-Z0-9_]+`", row[0])}
    assert written == real
