"""One value: `ValueKey` and envelope beside raw AESGCM; one wrapped key: the leased EDEK beside it."""

from __future__ import annotations

import os
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.rounds import Table, compare, timed
from encrypted_fields.core import envelope
from encrypted_fields.core.aead import ValueKey
from encrypted_fields.core.context import KeyContext, ValueContext
from tsp import edek


def tables(quick: bool) -> list[Table]:
    rounds, seconds = (5, 0.01) if quick else (21, 0.04)
    return [_value(32, rounds, seconds), _value(1024, rounds, seconds), _edek(rounds, seconds)]


def _value(size: int, rounds: int, seconds: float) -> Table:
    key, data, wrapped = os.urandom(32), os.urandom(size), os.urandom(200)
    raw, value = AESGCM(key), ValueKey(key)
    context = ValueContext("clinic-a", "clinic.Patient", "notes", b"0123456789abcdef")
    aad = context.aad()

    def plain() -> None:
        nonce = os.urandom(12)
        sealed = nonce + raw.encrypt(nonce, data, aad)
        raw.decrypt(sealed[:12], sealed[12:], aad)

    def new_key() -> None:
        nonce = os.urandom(12)
        sealed = nonce + AESGCM(key).encrypt(nonce, data, aad)
        AESGCM(key).decrypt(sealed[:12], sealed[12:], aad)

    def value_key() -> None:
        value.open(value.seal(data, aad), aad)

    def stored() -> None:
        made = envelope.seal(data, value, wrapped, context)
        envelope.parse(made).open(value, context)

    def from_key() -> None:
        made = envelope.seal(data, ValueKey(key), wrapped, context)
        envelope.parse(made).open(ValueKey(key), context)

    runs = {
        "raw AESGCM": plain,
        "raw AESGCM, a new key object each": new_key,
        "ValueKey": value_key,
        "ValueKey and envelope": stored,
        "the same from a new key": from_key,
    }
    title = f"Encrypt and decrypt one value of {size} bytes"
    return compare(title, "µs", {name: timed(run, seconds) for name, run in runs.items()}, rounds)


def _edek(rounds: int, seconds: float) -> Table:
    lek, dek = os.urandom(32), os.urandom(32)
    raw, context = AESGCM(lek), KeyContext("acme", "clinic-a", 7, "lek")
    elek = edek.direct(lek, context, os.urandom(61))
    info = edek.lease_info("acme", "clinic-a", 7, sha256(elek).digest())
    content = edek.seal_leased(lek, info, dek)

    def plain() -> None:
        nonce = os.urandom(12)
        raw.decrypt(nonce, raw.encrypt(nonce, dek, info), info)

    runs = {
        "raw AESGCM, encrypt and decrypt": plain,
        "leased wrap": lambda: edek.seal_leased(lek, info, dek),
        "leased unwrap": lambda: edek.open_leased(lek, info, content),
    }
    title = "Wrap and unwrap one data key under a leased key (derived key, commitment)"
    return compare(title, "µs", {name: timed(run, seconds) for name, run in runs.items()}, rounds)
