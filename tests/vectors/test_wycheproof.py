"""Project Wycheproof's vectors on the primitives as we wrap them; wycheproof/README.md names the source."""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

from encrypted_fields.core.aead import ValueKey
from encrypted_fields.core.errors import InvalidCiphertext
from tsp.contract import sealed

Case = dict[str, Any]


def cases(name: str) -> list[Any]:
    """Every test of a file with its group's facts, named by its number."""
    whole = json.loads((Path(__file__).parent / "wycheproof" / f"{name}.json").read_text())
    found = [
        {**{key: value for key, value in group.items() if key != "tests"}, **test}
        for group in whole["testGroups"]
        for test in group["tests"]
    ]
    assert len(found) == whole["numberOfTests"]
    return [pytest.param(case, id=f"{case['tcId']}-{case['result']}") for case in found]


def data(case: Case, *names: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(case[name]) for name in names)


@pytest.mark.parametrize("case", cases("aes_gcm"))
def test_a_value_is_aes_256_gcm(case: Case) -> None:
    """Only 12-byte nonces are ours: with another length even a valid ciphertext is refused."""
    key, nonce, aad, message, ciphertext, tag = data(case, "key", "iv", "aad", "msg", "ct", "tag")
    value = ValueKey(key)
    if case["result"] == "valid" and case["ivSize"] == 96:
        assert value._seal_with(message, aad, nonce) == nonce + ciphertext + tag
        assert value.open(nonce + ciphertext + tag, aad) == message
    else:
        with pytest.raises(InvalidCiphertext):
            value.open(nonce + ciphertext + tag, aad)


@pytest.mark.parametrize("case", cases("hkdf_sha256"))
def test_keys_are_derived_by_hkdf_sha256(case: Case) -> None:
    """The call that stream and edek make; RFC 5869's test cases are among these."""
    key, salt, info, output = data(case, "ikm", "salt", "info", "okm")
    if case["result"] == "valid":
        assert HKDF(SHA256(), case["size"], salt, info).derive(key) == output
    else:
        with pytest.raises(ValueError, match=r"."):
            HKDF(SHA256(), case["size"], salt, info)


@pytest.mark.parametrize("case", cases("hmac_sha512"))
def test_hmac_sha512(case: Case) -> None:
    """What tenant secrets are derived with (wire.md section 8)."""
    key, message, tag = data(case, "key", "msg", "tag")
    assert hmac.compare_digest(hmac.digest(key, message, "sha512"), tag) is (case["result"] == "valid")


@pytest.mark.parametrize("case", cases("x25519"))
def test_sealed_boxes_use_x25519_and_refuse_low_order_keys(case: Case) -> None:
    public, private, shared = data(case, "public", "private", "shared")
    if shared == bytes(32):
        with pytest.raises(ValueError, match="not usable"):
            sealed.seal(b"{}", public)
        box = sealed.seal(b"{}", bytes(PrivateKey(private).public_key))
        with pytest.raises(CryptoError):
            SealedBox(PrivateKey(private)).decrypt(public + box[32:])
    else:
        assert bindings.crypto_scalarmult(private, public) == shared
