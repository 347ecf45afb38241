"""The house stands as drawn: arrows point down, the core is plain Python, files stay small."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cmk_project", "broker", "tsp", "encrypted_fields")
MANDATED = (
    "manage.py", "cmk_project", "broker", "encrypted_fields", "tsp", "templates", "static", "tests", "requirements.txt",
    "docker-compose.yml",
)  # fmt: skip
MOST_LINES = 400


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _broken(folder: Path) -> list[str]:
    lint = Path(sys.executable).with_name("lint-imports")
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([lint, "--no-cache"], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert re.search(r"Contracts: \d+ kept, \d+ broken", done.stdout), done.stdout + done.stderr
    return sorted(line.removesuffix(" BROKEN") for line in done.stdout.splitlines() if line.endswith(" BROKEN"))


def test_imports_point_down(copy: Path) -> None:
    assert _broken(copy) == []


def test_two_deliberate_bad_imports_break_exactly_two_contracts(copy: Path) -> None:
    # the function body keeps a cycle from hiding the fault: import-linter reads, it does not run
    _append(copy / "encrypted_fields" / "conf.py", "def _bad() -> None:\n    import broker.models\n")
    _append(copy / "broker" / "permissions.py", "def _bad() -> None:\n    import tsp.service\n")
    assert _broken(copy) == ["Arrows point down", "The proxy is entered by its contract and catalogue"]


def _append(file: Path, text: str) -> None:
    assert file.is_file()
    file.write_text(file.read_text() + "\n\n" + text)


def test_the_mandated_names_are_at_the_top() -> None:
    assert [name for name in MANDATED if not (ROOT / name).exists()] == []


def _sources() -> list[Path]:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [ROOT / name for name in names if "/migrations/" not in name and (ROOT / name).is_file()]


def test_no_file_is_longer_than_its_budget() -> None:
    lengths = {file: len(file.read_text().splitlines()) for file in _sources()}
    assert {str(file.relative_to(ROOT)): lines for file, lines in lengths.items() if lines > MOST_LINES} == {}
    code = sorted(lines for file, lines in lengths.items() if file.relative_to(ROOT).parts[0] in PACKAGES)
    assert code[int(len(code) * 0.9)] <= 250


def test_every_module_says_what_it_holds() -> None:
    texts = {str(file.relative_to(ROOT)): file.read_text().strip() for file in _sources()}
    silent = [name for name, text in texts.items() if text and not re.match(r'(#!.*\n)?\s*r?"""', text)]
    assert silent == []


def test_no_module_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "handler", "handlers", "misc"}
    assert [str(file) for file in _sources() if file.stem in drawers] == []


def _loads(code: str, *forbidden: str) -> None:
    body = f"import sys\n{code}\nfound = [n for n in {forbidden!r} if n in sys.modules]\nassert not found, found"
    done = subprocess.run([sys.executable, "-c", body], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_core_runs_without_django() -> None:
    names = sorted(path.stem for path in (ROOT / "encrypted_fields" / "core").glob("*.py") if path.stem != "__init__")
    assert "envelope" in names
    imports = "\n".join(f"import encrypted_fields.core.{name}" for name in names)
    _loads(imports, "django", "urllib3", "http.client", "socket", "nacl", "msgspec")


def test_the_catalogue_loads_no_cloud_sdk() -> None:
    """The portal draws every provider's form without importing an SDK (decision 8)."""
    code = "from tsp import catalog\nassert catalog.forms('kms') and catalog.forms('siem')"
    _loads(code, "boto3", "botocore", "pkcs11", "django", "redis", "celery")
