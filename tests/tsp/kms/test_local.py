"""The key file: the contract, and its life on disk."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest

from encrypted_fields.core.errors import KmsMisconfigured, KmsRefused
from tests.tsp.kms.contract import CONTEXT, KmsContract
from tsp.contract.options import load
from tsp.egress import Egress
from tsp.kms.base import KmsAdapter
from tsp.kms.local import LocalKms, create_key_file, set_enabled


def _kms(path: Path) -> LocalKms:
    return LocalKms(load(LocalKms.Config, {"key_file": str(path)}), Egress())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "key.json"
    create_key_file(made)
    return made


class TestLocal(KmsContract):
    @pytest.fixture
    def kms(self, path: Path) -> KmsAdapter:
        return _kms(path)

    @pytest.fixture
    def denied(self, path: Path) -> tuple[KmsAdapter, bytes]:
        blob = _kms(path).wrap(bytes(32), CONTEXT)
        set_enabled(path, False)
        return _kms(path), blob

    @pytest.fixture
    def silent(self, tmp_path: Path) -> KmsAdapter:
        loop = tmp_path / "loop"
        loop.symlink_to(loop)  # the nearest that a file has to a network that is gone: an OSError of no known kind
        return _kms(loop)


def test_a_withdrawn_key_refuses_at_once_and_works_again_when_given_back(path: Path) -> None:
    kms = _kms(path)
    blob = kms.wrap(bytes(32), CONTEXT)
    set_enabled(path, False)
    with pytest.raises(KmsRefused):
        kms.unwrap(blob, CONTEXT)
    set_enabled(path, True)
    assert kms.unwrap(blob, CONTEXT) == bytes(32)
    path.unlink()
    with pytest.raises(KmsRefused):
        kms.unwrap(blob, CONTEXT)


def test_only_the_owner_can_read_the_file_and_none_is_overwritten(path: Path) -> None:
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        create_key_file(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    set_enabled(path, False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '{"key": "AAAA", "enabled": true}', '{"key": 1, "enabled": true}', "\x00"],
)
def test_a_damaged_file_is_a_mistake_and_no_refusal(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(KmsMisconfigured):
        _kms(path).wrap(bytes(32), CONTEXT)


def test_enabled_must_be_true_and_not_only_truthy(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "enabled": "yes"}))
    with pytest.raises(KmsMisconfigured):
        _kms(path).wrap(bytes(32), CONTEXT)


def test_readers_never_see_half_a_file(path: Path) -> None:
    kms = _kms(path)
    blob = kms.wrap(bytes(32), CONTEXT)
    done = threading.Event()
    failures: list[Exception] = []

    def read() -> None:
        while not done.is_set():
            try:
                kms.unwrap(blob, CONTEXT)
            except KmsRefused:
                continue
            except Exception as error:
                failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(100):
        set_enabled(path, turn % 2 == 1)
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []
