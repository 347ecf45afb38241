"""Settings are read strictly: what is wrong is named with its fix, what is secret is not shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmk_project import env

SECRET = "s3cret-credential-text"


@pytest.mark.parametrize("value", ["1", "True", "yes", "TRUE", "on", "truee"])
def test_a_flag_is_exactly_true_or_false(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("A_FLAG", value)
    with pytest.raises(env.SettingError, match="A_FLAG must be exactly true or false"):
        env.flag("A_FLAG", False)


def test_flags_and_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert env.flag("A_FLAG", True) is True
    monkeypatch.setenv("A_FLAG", "false")
    assert env.flag("A_FLAG", True) is False
    monkeypatch.setenv("A_FLAG", "true")
    assert env.flag("A_FLAG", False) is True


@pytest.mark.parametrize("value", ["-1", "65536", "7e3", "0x10", "seven", "7.0", "٧"])
def test_a_number_is_whole_and_within_its_range(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("A_PORT", value)
    with pytest.raises(env.SettingError, match="A_PORT must be a whole number from 0 to 65535"):
        env.number("A_PORT", 7777, least=0, most=65535)


def test_numbers_and_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert env.number("A_PORT", 7777, least=0, most=65535) == 7777
    monkeypatch.setenv("A_PORT", " 9000 ")
    assert env.number("A_PORT", 7777, least=0, most=65535) == 9000


def test_text_without_a_default_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(env.SettingError, match="A_NAME is not set"):
        env.text("A_NAME")
    monkeypatch.setenv("A_NAME", "blue")
    with pytest.raises(env.SettingError, match="A_NAME must be one of red, green"):
        env.text("A_NAME", choices=("red", "green"))


def test_a_secret_comes_from_the_variable_or_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("two\nlines\n")
    monkeypatch.setenv("A_SECRET_FILE", str(file))
    assert env.secret("A_SECRET") == "two\nlines"
    monkeypatch.delenv("A_SECRET_FILE")
    monkeypatch.setenv("A_SECRET", SECRET)
    assert env.secret("A_SECRET") == SECRET
    assert env.secret("ANOTHER_SECRET", "default") == "default"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", b"x" * 70_000])
def test_a_secret_file_that_is_missing_or_unusable_fails_loudly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("A_SECRET_FILE", str(file))
    with pytest.raises(env.SettingError, match="A_SECRET_FILE names"):
        env.secret("A_SECRET", "default")


def test_a_secret_set_twice_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", SECRET)
    monkeypatch.setenv("A_SECRET_FILE", "/nowhere")
    with pytest.raises(env.SettingError, match="only one of them") as caught:
        env.secret("A_SECRET")
    assert SECRET not in str(caught.value)


def test_a_missing_secret_names_both_ways_to_set_it() -> None:
    with pytest.raises(env.SettingError, match="A_SECRET is not set: set it, or set A_SECRET_FILE"):
        env.secret("A_SECRET")


@pytest.mark.parametrize("value", ["127.0.0.1/99", "localhost", "10.0.0.0/8;10.1.0.0/16"])
def test_networks_are_cidr(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("NETWORKS", value)
    with pytest.raises(env.SettingError, match="NETWORKS must be networks"):
        env.networks("NETWORKS")


def test_lists_drop_empty_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETWORKS", "127.0.0.0/8, ,::1/128,")
    assert env.networks("NETWORKS") == ["127.0.0.0/8", "::1/128"]


@pytest.mark.parametrize("value", ["broker:8000", "ftp://broker", "https://", "//broker"])
def test_an_address_has_a_scheme_and_a_host(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AN_URL", value)
    with pytest.raises(env.SettingError, match="AN_URL must be an address that starts with http:// or https://"):
        env.url("AN_URL")


def test_addresses_lose_their_last_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AN_URL", "https://broker.example/")
    assert env.url("AN_URL") == "https://broker.example"
    assert env.url("ANOTHER_URL", "") == ""


def test_databases(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert env.database("DB", "sqlite:///var/a.sqlite3", base=tmp_path)["NAME"] == str(tmp_path / "var/a.sqlite3")
    assert env.database("DB", "sqlite:////abs/a.sqlite3", base=tmp_path)["NAME"] == "/abs/a.sqlite3"
    assert env.database("DB", "sqlite:///:memory:", base=tmp_path)["NAME"] == ":memory:"
    monkeypatch.setenv("DB", "postgresql://us%40er:p%2Fw@db:5433/cmk?sslmode=require")
    found = env.database("DB", "", base=tmp_path)
    wanted = {"NAME": "cmk", "USER": "us@er", "PASSWORD": "p/w", "HOST": "db", "PORT": 5433}
    assert {name: found[name] for name in wanted} == wanted
    assert found["OPTIONS"] == {"sslmode": "require"}


@pytest.mark.parametrize(
    "value",
    ["mysql://u:pw-secret@h/n", "sqlite://x/y", "sqlite:///", "postgresql://u:pw-secret@h:port/n", "postgresql://h"],
)
def test_an_unknown_database_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str
) -> None:
    monkeypatch.setenv("DB", value)
    with pytest.raises(env.SettingError, match="DB must be sqlite:///PATH or postgresql://") as caught:
        env.database("DB", "", base=tmp_path)
    assert "pw-secret" not in str(caught.value)
