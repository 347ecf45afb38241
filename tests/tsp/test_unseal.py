"""Private keys open what was sealed to them, and show nothing."""

from __future__ import annotations

import pytest
from nacl.public import PublicKey, SealedBox

from tests.support import canary
from tests.support.people import key_id, key_pair, private_keys
from tsp.unseal import CannotOpen, PrivateKeys, fingerprint, generate, public_key


def _sealed(name: str, document: bytes = b"document") -> bytes:
    return SealedBox(key_pair(name).public_key).encrypt(document)


def test_opens_the_box_of_any_of_its_keys() -> None:
    keys = PrivateKeys.parse(private_keys("first", "second"))

    assert keys.ids == [key_id("first"), key_id("second")]
    assert keys.open({key_id("second"): _sealed("second")}) == (key_id("second"), b"document")


def test_a_box_for_another_key_does_not_open() -> None:
    keys = PrivateKeys.parse(private_keys("first"))

    with pytest.raises(CannotOpen):
        keys.open({key_id("second"): _sealed("second")})
    with pytest.raises(CannotOpen):
        keys.open({key_id("first"): _sealed("second")})


def test_every_flipped_bit_keeps_a_box_shut() -> None:
    keys, box = PrivateKeys.parse(private_keys("first")), _sealed("first")

    for bit in range(len(box) * 8):
        changed = bytearray(box)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CannotOpen):
            keys.open({key_id("first"): bytes(changed)})


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", "QUJD" * 20])
def test_a_key_of_the_wrong_form_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="private key") as error:
        PrivateKeys.parse(text)
    assert not text or text not in str(error.value)


def test_keys_do_not_print() -> None:
    canary.register("the proxy's private key", bytes(key_pair("first")))
    keys = PrivateKeys.parse(private_keys("first"))

    assert not canary.leaks(f"{keys!r} {keys} {vars(keys)}")


def test_a_generated_key_has_its_own_public_key() -> None:
    one, other = generate(), generate()

    assert public_key(one) != public_key(other)
    box = SealedBox(PublicKey(public_key(one))).encrypt(b"hello")
    keys = PrivateKeys([one])
    assert keys.open({keys.ids[0]: box})[1] == b"hello"


def test_the_fingerprint_is_the_whole_key_id_in_groups_of_four() -> None:
    assert fingerprint("0123456789abcdef0123456789abcdef") == "0123 4567 89ab cdef 0123 4567 89ab cdef"
