"""Sealing and opening as the browser does it, written a second time with PyNaCl from docs/formats.md section 9."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from nacl import bindings
from nacl.public import PrivateKey, SealedBox
from nacl.utils import random

MESSAGE = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
FINAL = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL


@dataclass
class Content:
    """What was sealed: `name` and `type` of a file."""

    data: bytes
    bound: bool
    name: str = ""
    type: str = ""


def key_id(key: PrivateKey) -> str:
    return sha256(bytes(key.public_key)).hexdigest()[:32]


def seal(data: bytes, keys: list[PrivateKey], place: bytes, *, bound: bool = True, name: str | None = None) -> bytes:
    """Of a text, or with `name` of a file."""
    ordered = sorted(keys, key=key_id)
    fixed = b"CMKE\x01" + bytes([0 if name is None else 1, bound, len(keys)])
    content, header = random(32), random(24)
    known = fixed + b"".join(bytes.fromhex(key_id(key)) for key in ordered) + place
    boxes = b"".join(bytes.fromhex(key_id(key)) + SealedBox(key.public_key).encrypt(content) for key in ordered)
    return fixed + boxes + header + b"".join(pushed(messages(data, name), content, header, known))


def messages(data: bytes, name: str | None) -> list[bytes]:
    if name is None:
        return [padded(data, 64)]
    about = json.dumps({"name": name, "type": "text/plain"}, separators=(",", ":")).encode()
    return [padded(about, 1024), *(data[at : at + 65536] for at in range(0, max(1, len(data)), 65536))]


def pushed(chunks: list[bytes], content: bytes, header: bytes, known: bytes) -> list[bytes]:
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    # to begin with a given header is what the reading side does
    bindings.crypto_secretstream_xchacha20poly1305_init_pull(state, header, content)
    tags = [MESSAGE] * (len(chunks) - 1) + [FINAL]
    push = bindings.crypto_secretstream_xchacha20poly1305_push
    return [push(state, chunk, known, tag) for chunk, tag in zip(chunks, tags, strict=True)]


def unseal(sealed: bytes, key: PrivateKey, place: bytes) -> Content:
    """ValueError, or PyNaCl's own error, for anything else than what `seal` makes."""
    if sealed[:5] != b"CMKE\x01" or len(sealed) < 8:
        raise ValueError("another format")
    kind, bound, count = sealed[5:8]
    entries = {sealed[at : at + 16].hex(): sealed[at + 16 : at + 96] for at in range(8, 8 + count * 96, 96)}
    start = 8 + count * 96
    known = sealed[:8] + b"".join(bytes.fromhex(name) for name in entries) + place
    content = SealedBox(key).decrypt(entries[key_id(key)])
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    bindings.crypto_secretstream_xchacha20poly1305_init_pull(state, sealed[start : start + 24], content)
    body = sealed[start + 24 :]

    def pull(chunk: bytes, tag: int) -> bytes:
        found, said = bindings.crypto_secretstream_xchacha20poly1305_pull(state, chunk, known)
        if said != tag:
            raise ValueError("cut")
        return bytes(found)

    if kind == 0:
        return Content(unpadded(pull(body, FINAL)), bound == 1)
    about: dict[str, Any] = json.loads(unpadded(pull(body[:1041], MESSAGE)))
    rest = [body[at : at + 65553] for at in range(1041, max(1042, len(body)), 65553)]
    data = b"".join(pull(chunk, FINAL if n == len(rest) else MESSAGE) for n, chunk in enumerate(rest, 1))
    return Content(data, bound == 1, about["name"], about["type"])


def padded(data: bytes, step: int) -> bytes:
    """ISO/IEC 7816-4: 80, then zeros up to a multiple of `step`."""
    return data + b"\x80" + bytes(-(len(data) + 1) % step)


def unpadded(data: bytes) -> bytes:
    found = data.rstrip(b"\0")
    if found[-1:] != b"\x80":
        raise ValueError("wrong padding")
    return found[:-1]


def key_of_file(content: str, passphrase: str) -> PrivateKey:
    """A recipient's key file."""
    file = json.loads(content)
    key = PBKDF2HMAC(SHA256(), 32, base64.b64decode(file["salt"]), file["iterations"]).derive(passphrase.encode())
    known = f"{file['kind']} {file['format']} {file['iterations']} {file['public_key']}".encode()
    return PrivateKey(AESGCM(key).decrypt(base64.b64decode(file["iv"]), base64.b64decode(file["box"]), known))
