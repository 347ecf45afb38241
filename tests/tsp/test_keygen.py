"""The key commands: what they make fits together, and the private half shows only where it was asked for."""

from __future__ import annotations

import base64
import io
import re
import stat
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.support.people import key_id, private_keys
from tsp.contract import sealed
from tsp.unseal import PrivateKeys


def _run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def _after(name: str, text: str) -> str:
    found = re.search(rf"^{name} +(.+)$", text, re.MULTILINE)
    assert found, text
    return found[1]


def test_the_halves_fit_together() -> None:
    text = _run("tsp_keygen")

    public = base64.b64decode(_after("public key", text))
    keys = PrivateKeys.parse(_after("private key", text))
    assert keys.ids == [sealed.key_id(public)] == [_after("key id", text)]
    assert _after("fingerprint", text).replace(" ", "") == keys.ids[0]
    assert keys.open({keys.ids[0]: sealed.seal(b"x", public)})[1] == b"x"


def test_every_run_makes_another_key() -> None:
    assert _after("key id", _run("tsp_keygen")) != _after("key id", _run("tsp_keygen"))


def test_a_private_key_in_a_file_is_for_its_owner_only_and_not_on_the_screen(tmp_path: Path) -> None:
    path = tmp_path / "private"
    text = _run("tsp_keygen", "--out", str(path))

    assert PrivateKeys.parse(path.read_text()).ids == [_after("key id", text)]
    assert path.read_text().strip() not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.write_text("the only copy")
    with pytest.raises(CommandError, match="exists"):
        _run("tsp_keygen", "--out", str(path))
    assert path.read_text() == "the only copy"


def test_the_fingerprints_of_the_keys_in_use(settings: object) -> None:
    settings.TSP_PRIVATE_KEYS = private_keys("first", "second")  # type: ignore[attr-defined]
    shown = _run("tsp_fingerprint").splitlines()
    assert [line.replace(" ", "") for line in shown] == [key_id("first"), key_id("second")]
    assert all(re.fullmatch(r"([0-9a-f]{4} ){7}[0-9a-f]{4}", line) for line in shown)


def test_keys_that_are_none_are_named_and_not_shown(settings: object) -> None:
    settings.TSP_PRIVATE_KEYS = private_keys() + "\nc2hvcnQ="  # type: ignore[attr-defined]
    with pytest.raises(CommandError, match="private key 2") as error:
        _run("tsp_fingerprint")
    assert "c2hvcnQ" not in str(error.value)
