"""The library installs and runs alone: its own wheel, with Django and cryptography and nothing else of this project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDS = ("django", "asgiref", "sqlparse", "cryptography", "cffi", "pycparser", "typing_extensions")

PROGRAM = """
import json, sys
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["encrypted_fields"], DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
from django.db import connection, models
from encrypted_fields import EncryptedField, tenant
from encrypted_fields.testing import MemoryTsp, assert_encrypted

class Letter(models.Model):
    text = EncryptedField(models.TextField())
    class Meta:
        app_label = "encrypted_fields"

with connection.schema_editor() as editor:
    editor.create_model(Letter)
with MemoryTsp(), tenant("north"):
    letter = Letter.objects.create(text="dear customer")
    assert_encrypted(letter, "text")
    found = Letter.objects.get().text
known = ("broker", "tsp", "rest_framework", "celery", "redis", "msgspec", "nacl", "boto3", "pytest")
loaded = [name for name in known if name in sys.modules]
print(json.dumps({"found": found, "file": sys.modules["encrypted_fields"].__file__, "loaded": loaded}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "encrypted_fields"
    shutil.copytree(ROOT / "encrypted_fields", source, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "out"), str(source)],
        check=True,
        capture_output=True,
        timeout=100,
    )
    (found,) = (folder / "out").glob("*.whl")
    return found


def test_the_wheel_needs_django_and_cryptography_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (about,) = [name for name in names if name.endswith("METADATA")]
        needs = [line for line in archive.read(about).decode().splitlines() if line.startswith("Requires-Dist")]
    assert sorted(line.split()[1].split(">")[0].split("<")[0] for line in needs) == ["cryptography", "django"]
    assert "encrypted_fields/py.typed" in names
    assert "encrypted_fields/core/envelope.py" in names
    assert "encrypted_fields/templates/encrypted_fields/admin/change_form.html" in names
    assert "encrypted_fields/static/encrypted_fields/admin.css" in names
    assert {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")} == {
        "encrypted_fields"
    }


def test_it_seals_and_opens_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """A new environment that holds the wheel and, copied from this one, what Django and cryptography are made of."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    (site,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for name in NEEDS:
        _lend(name, site)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run([str(python), "-I", str(program)], capture_output=True, text=True, timeout=100, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["found"] == "dear customer"
    assert said["file"].startswith(str(tmp_path))
    assert said["loaded"] == []


def test_the_tutorial_works_as_it_is_written(wheel: Path, tmp_path: Path) -> None:
    """docs/fields.md in an empty project: settings, model, migrations without a key, and the test of the page."""
    page = (ROOT / "docs" / "fields.md").read_text()
    settings, model = _blocks(page, "Ten minutes on a real model")
    (test,) = _blocks(page, "Testing your application")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    project = tmp_path / "project"
    project.mkdir()

    def run(*command: str) -> str:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": f"{tmp_path / 'site'}:{project}"}
        done = subprocess.run(
            [sys.executable, *command], cwd=project, env=env, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("-m", "django", "startproject", "shop", ".")
    run("manage.py", "startapp", "clinic")
    with (project / "shop" / "settings.py").open("a") as file:
        file.write(settings.replace("[...,", '[*INSTALLED_APPS, "clinic",'))
    (project / "clinic" / "models.py").write_text(model)
    (project / "test_page.py").write_text("import pytest\nfrom clinic.models import Patient\n" + test)
    assert "Create model Patient" in run("manage.py", "makemigrations")
    migration = (project / "clinic" / "migrations" / "0001_initial.py").read_text()
    assert "encrypted_fields.EncryptedField(models.DateField(null=True), tenant_from='tenant_id')" in migration
    run("manage.py", "migrate")
    options = [
        "-q",
        "--ds=shop.settings",
        "-p",
        "no:cacheprovider",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    ]
    assert "1 passed" in run("-m", "pytest", *options, "test_page.py")


def _blocks(page: str, title: str) -> list[str]:
    """The code of a section, without its indentation."""
    section = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
    found: list[list[str]] = [[]]
    for line in section.splitlines():
        if line.startswith("    ") or (not line and found[-1]):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [textwrap.dedent("\n".join(lines)).strip() + "\n" for lines in found if lines]


def _lend(name: str, site: Path) -> None:
    """Link the top level of an installed package; a package that this version does not need is left out."""
    try:
        files = metadata.distribution(name).files or []
    except metadata.PackageNotFoundError:
        return
    for top in {Path(str(file)).parts[0] for file in files} - {"..", "__pycache__"}:
        target = Path(str(metadata.distribution(name).locate_file(top)))
        if not (site / top).exists():
            (site / top).symlink_to(target)
