"""Deterministic fields: equal bytes for equal values, rotation, and two dialects that stay apart."""

from __future__ import annotations

import base64

import pytest

from encrypted_fields.core.errors import InvalidCiphertext, NoPrimaryKms
from encrypted_fields.core.protocol import BadReply, Derived, DerivedKey, derived
from encrypted_fields.documents import deterministic
from encrypted_fields.documents.deterministic import Dialect, Path
from tests.encrypted_fields.core.draw import flipped
from tests.encrypted_fields.documents.conftest import A, B
from tests.encrypted_fields.documents.memory import Keys

PATH = Path("mail", "clinic")
every_dialect = pytest.mark.parametrize("dialect", list(Dialect))


@every_dialect
@pytest.mark.parametrize("value", [b"", b"x", bytes(1000)])
def test_equal_values_give_equal_bytes_that_open(keys: Keys, dialect: Dialect, value: bytes) -> None:
    sealed = deterministic.encrypt(value, PATH, A, dialect=dialect)
    assert sealed == deterministic.encrypt(memoryview(value), PATH, A, dialect=dialect)
    assert sealed[:6] == (5001).to_bytes(4, "big") + bytes(2)
    assert len(sealed) == 22 + len(value)
    assert deterministic.decrypt(sealed, PATH, A, dialect=dialect) == value
    assert keys.calls == [("derive", 1)] * 3


def test_tenant_path_and_dialect_each_give_other_bytes(keys: Keys) -> None:
    made = {
        deterministic.encrypt(b"x", PATH, A),
        deterministic.encrypt(b"x", PATH, B),
        deterministic.encrypt(b"x", Path("mail", "shop"), A),
        deterministic.encrypt(b"x", Path("name", "clinic"), A),
        deterministic.encrypt(b"x", PATH, A, dialect=Dialect.TSC),
    }
    assert len(made) == 5
    opened = 0
    for data in made:
        try:
            opened += deterministic.decrypt(data, PATH, A) == b"x"
        except InvalidCiphertext:
            continue
    assert opened == 1


def test_every_flipped_bit_and_every_cut_is_refused(keys: Keys) -> None:
    sealed = deterministic.encrypt(b"x", PATH, A)
    for damaged in [*flipped(sealed), *(sealed[:size] for size in range(len(sealed))), sealed + b"\0"]:
        with pytest.raises(InvalidCiphertext):
            deterministic.decrypt(damaged, PATH, A)


def test_rotation_finds_the_old_and_writes_the_new(keys: Keys) -> None:
    old = deterministic.encrypt(b"x", PATH, A)
    keys.secrets = {5002: True, 5001: False}
    new = deterministic.encrypt(b"x", PATH, A)
    assert new[:4] == (5002).to_bytes(4, "big")
    assert deterministic.search_terms(b"x", PATH, A) == [new, old]
    assert deterministic.decrypt(old, PATH, A) == b"x"
    assert deterministic.rotate(old, PATH, A) == deterministic.rotate(new, PATH, A) == new
    keys.secrets = {5002: True}  # the old one is archived
    with pytest.raises(InvalidCiphertext):
        deterministic.decrypt(old, PATH, A)


def test_a_tenant_without_a_primary_key_can_read_but_not_write(keys: Keys) -> None:
    sealed = deterministic.encrypt(b"x", PATH, A)
    keys.has_primary = False
    assert deterministic.decrypt(sealed, PATH, A) == b"x"
    assert deterministic.search_terms(b"x", PATH, A) == [sealed]
    for refused in (deterministic.encrypt, deterministic.rotate):
        with pytest.raises(NoPrimaryKms):
            refused(b"x" if refused is deterministic.encrypt else sealed, PATH, A)


def test_text_is_a_mistake(keys: Keys) -> None:
    for refused in (deterministic.encrypt, deterministic.search_terms):
        with pytest.raises(TypeError):
            refused("text", PATH, A)  # type: ignore[operator]


async def test_the_asynchronous_twins_do_the_same(keys: Keys) -> None:
    sealed = await deterministic.aencrypt(b"x", PATH, A)
    assert await deterministic.adecrypt(sealed, PATH, A) == b"x"
    assert await deterministic.asearch_terms(b"x", PATH, A) == [sealed]
    assert await deterministic.arotate(sealed, PATH, A) == sealed


def test_nodes_published_ciphertext_is_ours(monkeypatch: pytest.MonkeyPatch, keys: Keys) -> None:
    """From the Node client's own tests: secret 5111, derived key and ciphertext of "Jim Bridger"."""
    key = base64.b64decode("+5RA+h4hWWs28cDBaJ0xf6VekSt+NyqJLnj9/GLugMBgwPhV/Qcefs21asNN+iN3h1H8MSjRlgA+V7CyPfmFYw==")
    found = Derived(True, {"s": {"derivPath": [DerivedKey(5111, bytearray(key), True)]}})
    monkeypatch.setattr(Keys, "derive", lambda *_: found)
    sealed = deterministic.encrypt(b"Jim Bridger", Path("s", "derivPath"), A, dialect=Dialect.TSC)
    assert sealed == base64.b64decode("AAAT9wAAeFKwSikcVVSXpGj8z2/7bYkDpEue9kUlUxOj")
    assert not any(found.keys["s"]["derivPath"][0].key)  # wiped


def entry(number: object = 7, current: object = True, size: int = 64) -> dict[str, object]:
    return {"derivedKey": base64.b64encode(bytes(size)).decode(), "tenantSecretId": number, "current": current}


def reply(*entries: object, has_primary: object = True) -> dict[str, object]:
    return {"hasPrimaryConfig": has_primary, "derivedKeys": {"s": {"d": list(entries)}}}


def test_the_current_key_comes_first() -> None:
    found = derived(reply(entry(8, False), entry(9)), {"s": ["d"]})
    assert [key.secret for key in found.keys["s"]["d"]] == [9, 8]
    assert repr(found.keys["s"]["d"][0]) == "<DerivedKey of secret 9>"


@pytest.mark.parametrize(
    "bad",
    [
        None, [], {}, {"hasPrimaryConfig": True}, {"hasPrimaryConfig": True, "derivedKeys": {"s": {}}},
        reply(), reply(entry(), has_primary=1), reply(entry(0)), reply(entry(2**32)), reply(entry("7")),
        reply(entry(True)),
        reply(entry(current=False)), reply(entry(), entry(8)), reply(entry(), entry(7, False)), reply(entry(current=1)),
        reply(entry(size=63)), reply(entry(size=32)), reply("key"), reply({"tenantSecretId": 7, "current": True}),
    ],
)  # fmt: skip
def test_a_reply_of_another_shape_is_refused(bad: object) -> None:
    with pytest.raises(BadReply):
        derived(bad, {"s": ["d"]})
