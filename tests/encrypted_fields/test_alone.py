"""The library installs and runs alone: its own wheel, with Django and cryptography and nothing else of this project."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
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
