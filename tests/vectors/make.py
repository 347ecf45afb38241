"""Makes the frozen vectors: `python -m tests.vectors.make FOLDER`. A later run must give the same bytes.

Randomness is drawn from a counter through the private seams (aead, stream, the sealed box), so that each vector
can be made again. A released vector is never changed: a new format gets new files.
"""

from __future__ import annotations

import base64
import hmac
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.public import Box, PrivateKey, PublicKey

from encrypted_fields.core import aead, blind, envelope, order, protobuf, stream
from encrypted_fields.core.aead import ValueKey
from encrypted_fields.core.context import KeyContext, ValueContext, canonical
from tsp.contract import events, sealed, tenant

Vector = dict[str, Any]
OPENS, REFUSED = "opens", "refused"


def drawn(label: str, size: int) -> bytes:
    """Bytes that look random and are the same each time."""
    out = b"".join(sha256(f"cmk vectors {label} {n}".encode()).digest() for n in range(-(-size // 32)))
    return out[:size]


@contextmanager
def fixed(label: str) -> Iterator[None]:
    """Every seam of randomness gives bytes drawn from `label`."""
    count = iter(range(1_000))

    def source(size: int) -> bytes:
        return drawn(f"{label} random {next(count)}", size)

    with (
        mock.patch.object(aead, "_random", source),
        mock.patch.object(stream, "_random", source),
    ):
        yield


DEK, KEK, LEK = drawn("dek", 32), drawn("kek", 32), drawn("lek", 32)
DIRECT = KeyContext("acme", "clinic-a", 7, "dek")
LEASE = KeyContext("acme", "clinic-a", 7, "lek")


def blob(key: bytes, context: KeyContext, label: str) -> bytes:
    """What the local key service makes of `key`: 01 ‖ nonce ‖ ciphertext ‖ tag under the KEK."""
    return b"\x01" + ValueKey(KEK)._seal_with(key, context.aad(), drawn(label, 12))


def _commit(key: bytes, context: KeyContext) -> bytes:
    parts = (context.vendor, context.tenant, str(context.config), context.purpose)
    return hmac.digest(key, canonical("cmk/edek/commit/1", *[part.encode() for part in parts]), "sha256")


def direct(key: bytes, context: KeyContext, wrapped: bytes) -> bytes:
    """01 ‖ 01 ‖ commit ‖ blob of the key service."""
    return b"\1\1" + _commit(key, context) + wrapped


def leased(elek: bytes) -> bytes:
    """01 ‖ 02 ‖ salt ‖ commit ‖ ciphertext ‖ tag."""
    salt = drawn("leased salt", 16)
    info = canonical("cmk/edek/lease/1", b"acme", b"clinic-a", b"7", sha256(elek).digest())
    derived = HKDF(SHA256(), 76, salt, info).derive(LEK)
    return b"\1\2" + salt + derived[44:] + AESGCM(derived[:32]).encrypt(derived[32:44], DEK, info)


def element(config: int, content: bytes, elek: bytes | None = None) -> bytes:
    """The EncryptedDek of a content, leased if there is an ELEK."""
    tail = b""
    if elek is not None:
        number = int.from_bytes(sha256(elek).digest()[:4], "big") & 0x7FFF_FFFF
        tail = protobuf.varint(3, number) + protobuf.length(5, outer(element(config, elek)))
    return protobuf.length(1, content) + protobuf.varint(2, config) + tail


def outer(inner: bytes) -> bytes:
    return protobuf.length(1, inner)


ELEK = direct(LEK, LEASE, blob(LEK, LEASE, "elek"))
PLAIN = element(7, direct(DEK, DIRECT, blob(DEK, DIRECT, "direct")))
LEASED = element(7, leased(ELEK), ELEK)


def context_vectors() -> list[Vector]:
    cases = [
        ("worked-example", "the associated data of a value bound to its row", "cmk/value/1",
         [b"clinic-a", b"clinic.Patient", b"notes", b"17"]),
        ("no-row", "not bound to a row: three parts", "cmk/value/1", [b"clinic-a", b"clinic.Patient", b"notes"]),
        ("empty-row", "an empty row is not a missing one", "cmk/value/1",
         [b"clinic-a", b"clinic.Patient", b"notes", b""]),
        ("shift-left", "with the next: boundaries count", "cmk/value/1", [b"ab", b"c", b"d"]),
        ("shift-right", "with the one before", "cmk/value/1", [b"a", b"bc", b"d"]),
        ("no-parts", "a label alone", "cmk/value/1", []),
        ("unicode", "text is UTF-8, not normalised", "cmk/value/1", ["clínica".encode(), b"m", b"f"]),
        ("key", "what a key service is given for a DEK", "cmk/key/1", [b"acme", b"clinic-a", b"7", b"dek"]),
    ]  # fmt: skip
    return [
        {"name": name, "comment": comment, "expect": "equal", "label": label, "parts": [part.hex() for part in parts],
         "bytes": canonical(label, *parts).hex()}
        for name, comment, label, parts in cases
    ]  # fmt: skip


def value_vectors() -> list[Vector]:
    bound = ValueContext("clinic-a", "clinic.Patient", "notes", b"17")
    loose = ValueContext("clinic-a", "clinic.Patient", "notes")
    plaintext = b"Penicillin: allergic"

    def stored(label: str, context: ValueContext, text: bytes = plaintext) -> bytes:
        with fixed(label):
            return envelope.seal(text, ValueKey(DEK), b"EDEK", context)

    def vector(
        name: str, comment: str, expect: str, data: bytes, context: ValueContext, text: bytes = plaintext
    ) -> Vector:
        return {
            "name": name, "comment": comment, "expect": expect, "dek": DEK.hex(), "tenant": context.tenant,
            "model": context.model, "field": context.field, "row": None if context.row is None else context.row.hex(),
            "plaintext": text.hex() if expect == OPENS else None, "stored": data.hex(),
        }  # fmt: skip

    good, free = stored("bound", bound), stored("free", loose)
    moved = [
        ("another-tenant", ValueContext("clinic-b", "clinic.Patient", "notes", b"17")),
        ("another-model", ValueContext("clinic-a", "clinic.Doctor", "notes", b"17")),
        ("another-field", ValueContext("clinic-a", "clinic.Patient", "name", b"17")),
        ("another-row", ValueContext("clinic-a", "clinic.Patient", "notes", b"18")),
        ("shifted-boundary", ValueContext("clinic-aclinic.", "Patient", "notes", b"17")),
        ("no-row", loose),
    ]
    damaged = [
        ("magic", "another magic", b"CMJ" + good[3:]),
        ("version-0", "version 0", good[:3] + b"\0" + good[4:]),
        ("version-2", "a later version", good[:3] + b"\2" + good[4:]),
        ("binding-2", "an unknown binding", good[:4] + b"\2" + good[5:]),
        ("edek-empty", "no EDEK", good[:5] + b"\0\0" + good[11:]),
        ("edek-longer", "the EDEK's length is one more", good[:5] + b"\0\5" + good[7:]),
        ("edek-past-end", "the EDEK runs past the end", good[:5] + b"\x0f\xff" + good[7:]),
        ("nonce", "a flipped bit in the nonce", _flip(good, 11)),
        ("ciphertext", "a flipped bit in the ciphertext", _flip(good, 23)),
        ("tag", "a flipped bit in the tag", _flip(good, len(good) - 1)),
        ("cut", "the last byte is missing", good[:-1]),
        ("longer", "one byte more", good + b"\0"),
        ("head-only", "nothing after the EDEK", good[:11]),
        ("empty", "no bytes at all", b""),
    ]
    return [
        vector("row-bound", "the worked example", OPENS, good, bound),
        vector("unbound", "not bound to its row", OPENS, free, loose),
        vector("empty", "an empty value", OPENS, stored("nothing", bound, b""), bound, b""),
        vector("rekeyed", "the same value under another EDEK", OPENS, envelope.parse(good).with_edek(b"other"), bound),
        *[vector(f"moved-{name}", "opened in another place", REFUSED, good, context) for name, context in moved],
        vector(
            "downgraded", "binding byte cleared and opened without a row", REFUSED, good[:4] + b"\0" + good[5:], loose
        ),
        *[vector(f"damaged-{name}", comment, REFUSED, data, bound) for name, comment, data in damaged],
    ]


def file_vectors() -> list[Vector]:
    place = ValueContext("clinic-a", "clinic.Patient", "scan", b"17")

    def seal(label: str, content: bytes, filename: str | None = None) -> bytes:
        with fixed(label):
            return stream.SealingReader(io.BytesIO(content), DEK, b"EDEK", place, filename).read()

    def vector(name: str, comment: str, expect: str, data: bytes | None, **more: Any) -> Vector:
        shown = {} if data is None else {"sealed": data.hex()} if len(data) < 1000 else {"sealed64": _base64(data)}
        return {
            "name": name, "comment": comment, "expect": expect, "dek": DEK.hex(), "tenant": place.tenant,
            "model": place.model, "field": place.field, "row": b"17".hex(), **shown, **more,
        }  # fmt: skip

    small, nothing = seal("small", b"a scan"), seal("nothing", b"")
    named = seal("named", b"a scan", "knee.png")
    long = drawn("content", stream.CHUNK + 20)
    two = seal("two", long)
    head, first = 27, stream.SEALED_CHUNK

    def edited(name: str, comment: str, *edit: Any) -> Vector:
        return vector(f"two-chunks-{name}", comment, REFUSED, None, of="two-chunks", edit=list(edit))

    return [
        vector("small", "the worked example", OPENS, small, plaintext=b"a scan".hex()),
        vector("empty", "an empty file is one empty chunk", OPENS, nothing, plaintext=""),
        vector("named", "version 2 keeps the name", OPENS, named, plaintext=b"a scan".hex(), filename="knee.png"),
        vector("named-flipped", "a flipped bit in the sealed name", REFUSED, _flip(named, 40)),
        vector("named-version-1", "the name taken out", REFUSED, small[:27] + named[109:]),
        vector("named-cut", "the name's length is 16 less", REFUSED, named[:27] + b"\0\x40" + named[45:]),
        vector("two-chunks", "65,556 bytes", OPENS, two, plaintext_sha256=sha256(long).hexdigest()),
        vector("small-cut", "the last byte is missing", REFUSED, small[:-1]),
        vector("small-longer", "one byte more", REFUSED, small + b"\0"),
        vector("small-salt", "a flipped bit in the salt", REFUSED, _flip(small, 11)),
        vector("small-tag", "a flipped bit in the tag", REFUSED, _flip(small, len(small) - 1)),
        vector("small-version", "a later version", REFUSED, b"CMKF\2" + small[5:]),
        vector("small-no-chunk", "a header alone", REFUSED, small[:head]),
        vector("small-field", "opened in another field", REFUSED, small, field="photo"),
        vector("spliced", "the header of one file, the chunk of another", REFUSED, small[:head] + nothing[head:]),
        edited("first-only", "cut after the first chunk", "keep", 0, head + first),
        edited("last-only", "the first chunk is missing", "drop", head, head + first),
        edited("cut", "cut inside the last chunk", "keep", 0, len(two) - 5),
        edited("flipped-first", "a flipped bit in the first chunk", "flip", head + 100),
        edited("flipped-last", "a flipped bit in the last chunk", "flip", len(two) - 20),
        edited("longer", "an empty chunk more", "append", bytes(16).hex()),
    ]


def edek_vectors() -> list[Vector]:
    def vector(name: str, comment: str, expect: str, data: bytes, **more: Any) -> Vector:
        return {
            "name": name, "comment": comment, "expect": expect, "kek": KEK.hex(), "vendor": "acme",
            "tenant": "clinic-a", "dek": DEK.hex() if expect == OPENS else None, "edek": data.hex(), **more,
        }  # fmt: skip

    plain, lease = outer(PLAIN), outer(LEASED)
    wrong = outer(element(7, direct(LEK, DIRECT, blob(DEK, DIRECT, "direct"))))
    tenant_a, tenant_b = protobuf.length(6, b"clinic-a"), protobuf.length(6, b"clinic-b")
    return [
        vector("two-level", "the worked example: the tenant's key service wraps the DEK", OPENS, plain),
        vector("leased", "the worked example: the leased key wraps the DEK, the key service wraps it", OPENS, lease),
        vector("rewritten", "a client added the tenant (field 6)", OPENS, outer(PLAIN + tenant_a)),
        vector("leased-rewritten", "a client added the tenant (field 6)", OPENS, outer(LEASED + tenant_a)),
        vector("another-tenant", "asked for by another tenant", REFUSED, plain, tenant="clinic-b"),
        vector("another-vendor", "opened at another vendor", REFUSED, plain, vendor="other"),
        vector("leased-another-tenant", "asked for by another tenant", REFUSED, lease, tenant="clinic-b"),
        vector("named-another", "field 6 names another tenant", REFUSED, outer(PLAIN + tenant_b)),
        vector("uncommitted", "the commitment is that of another key", REFUSED, wrong),
        vector("config", "moved to another configuration", REFUSED, plain.replace(b"\x10\x07", b"\x10\x08")),
        vector("leased-config", "moved to another configuration", REFUSED, outer(element(8, leased(ELEK), ELEK))),
        vector("config-0", "no configuration number", REFUSED, outer(element(0, direct(DEK, DIRECT, b"blob")))),
        vector("twice", "two EncryptedDeks", REFUSED, plain * 2),
        vector("none", "no EncryptedDek", REFUSED, b""),
        vector("text", "not protobuf: the bytes `edek`", REFUSED, b"edek"),
        vector("cut", "the last byte is missing", REFUSED, plain[:-1]),
        vector("version", "a later version of the content", REFUSED, plain.replace(b"\1\1", b"\2\1", 1)),
        vector("leased-commit", "a flipped bit in the commitment", REFUSED, _flip(lease, lease.index(b"\1\2") + 20)),
        vector("leased-tag", "a flipped bit in the tag", REFUSED, _flip(lease, lease.index(b"\1\2") + 97)),
        vector("two-level-blob", "a flipped bit in the key service's blob", REFUSED, _flip(plain, len(plain) - 4)),
    ]


def sealed_vectors() -> list[Vector]:
    key = PrivateKey(drawn("proxy key", 32))
    public = bytes(key.public_key)
    binding = tenant.Binding("acme", "clinic-a", 7, "kms", 1, "", "2026-01-31T23:59:59.123Z", sealed.key_id(public))
    body = tenant.KmsBody("local", {"key_file": "/keys/clinic-a"}, True, tenant.Leasing(True, 300, 3600))
    document = tenant.dump(tenant.Document(binding, body))
    box = _box(document, public)
    record = sealed.Record("clinic-a", 7, "kms", 1, {binding.tsp_key: box}, 12)

    def vector(name: str, comment: str, expect: str, found: sealed.Record) -> Vector:
        return {
            "name": name, "comment": comment, "expect": expect, "private_key": bytes(key).hex(),
            "record": sealed.dump(found), "hash": found.hash if expect == OPENS else None,
            "document": document.decode() if expect == OPENS else None,
        }  # fmt: skip

    def holding(data: bytes) -> sealed.Record:
        return sealed.Record("clinic-a", 7, "kms", 1, {binding.tsp_key: data}, 12)

    low = _box(document, public, ephemeral=bytes(32))
    return [
        vector("kms", "the worked example", OPENS, record),
        vector("flipped", "a flipped bit", REFUSED, holding(_flip(box, 60))),
        vector("cut", "the last byte is missing", REFUSED, holding(box[:-1])),
        vector("longer", "one byte more", REFUSED, holding(box + b"\0")),
        vector("other-key", "sealed to another proxy", REFUSED, holding(_box(document, drawn("another", 32)))),
        vector("low-order", "the sender's key is of low order", REFUSED, holding(low)),
    ]


def event_vectors() -> list[Vector]:
    event = events.AuditEvent(
        id="019c1666fa23" + drawn("event", 10).hex(), time="2026-01-31T23:59:59.123Z", vendor="acme", tenant="clinic-a",
        action=events.UNWRAP, outcome=events.REFUSED, code=206, reason="the tenant's key service refused access",
        requesting_id="clinic-web", object_id="clinic.Patient/17", request_id="req-9", tsp="tsp-1", config=7,
        leased=True, edek=sha256(leased(ELEK)).hexdigest()[:16], custom={"user": "dr.jane"},
    )  # fmt: skip
    line = events.dump(event).decode()

    def vector(name: str, comment: str, expect: str, found: str) -> Vector:
        return {"name": name, "comment": comment, "expect": expect, "line": found}

    return [
        vector("refused", "the worked example", OPENS, line),
        vector("least", "nothing but the required members", OPENS,
               '{"id":"1","time":"t","vendor":"v","tenant":"a","action":"dek.wrap","outcome":"success"}'),
        vector("unknown-member", "members that a later release added are ignored", OPENS, line[:-1] + ',"later":1}'),
        vector("later-format", "another format", REFUSED, line[:-1] + ',"format":2}'),
        vector("no-tenant", "a required member is missing", REFUSED, line.replace('"tenant"', '"tenants"')),
        vector("code-text", "a text for a number", REFUSED, line.replace("206", '"206"')),
        vector("two", "something after it", REFUSED, line + line),
    ]  # fmt: skip


def index_vectors() -> list[Vector]:
    name, born = ("clinic.patient", "name"), ("clinic.patient", "born")

    def vector(
        title: str, comment: str, values: list[bytes], places: list[tuple[str, str]], *, tenant: str = "clinic-a",
        spec: str = "exact", number: int = 5, bits: int = 128,
    ) -> Vector:  # fmt: skip
        derived = drawn("derived", 64)
        key = blind.index_key(derived, tenant, places, spec)
        return {
            "name": title, "comment": comment, "expect": "equal", "derived": derived.hex(), "number": number,
            "tenant": tenant, "places": places, "index": spec, "values": [value.hex() for value in values],
            "bits": bits, "key": key.hex(), "stored": blind.blind(key, number, values, bits).hex(),
        }  # fmt: skip

    smith, day = b"sSmith", b"D1990-05-17"
    return [
        vector("exact", "the worked example", [smith], [name]),
        vector("another-tenant", "the same value of another tenant", [smith], [name], tenant="clinic-b"),
        vector("another-field", "the same value of another field", [smith], [("clinic.patient", "maiden")]),
        vector("another-index", "the same value in another index of the field", [smith], [name], spec="folded"),
        vector("another-secret", "another number alone changes the head alone", [smith], [name], number=6),
        vector("several", "an index over two fields", [smith, day], [name, born]),
        vector("shifted", "boundaries count", [b"sSmit", b"hD1990-05-17"], [name, born]),
        vector("empty", "an empty text is a value", [b"s"], [name]),
        vector("truncated", "12 bits", [smith], [name], spec="exact/12", bits=12),
        *_ordered_vectors(),
    ]


def _ordered_vectors() -> list[Vector]:
    derived, place = drawn("derived", 64), ("clinic.patient", "visits")
    key = blind.index_key(derived, "clinic-a", [place], "ordered")
    return [
        {
            "name": name, "comment": comment, "expect": "equal", "derived": derived.hex(), "number": 5,
            "tenant": "clinic-a", "places": [place], "index": "ordered", "ordered": value, "width": 16,
            "key": key.hex(),
            "stored": order.ordered(blind.ready(key), 5, value, 16).hex(),
        }
        for name, comment, value in [
            ("ordered", "the worked example: 12 in a small integer, 32,780 of 65,535", 32_780),
            ("ordered-next", "one more: the digits differ in the last place only, by one", 32_781),
            ("ordered-least", "the least", 0),
            ("ordered-most", "the most", 65_535),
        ]
    ]  # fmt: skip


ALL = {
    "context": context_vectors,
    "value": value_vectors,
    "file": file_vectors,
    "edek": edek_vectors,
    "sealed": sealed_vectors,
    "event": event_vectors,
    "index": index_vectors,
}


def _flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _box(document: bytes, public: bytes, ephemeral: bytes | None = None) -> bytes:
    """crypto_box_seal with a sender key that is drawn, or with `ephemeral` as its forged public half."""
    sender = PrivateKey(drawn("ephemeral", 32))
    shown = bytes(sender.public_key) if ephemeral is None else ephemeral
    nonce = blake2b(shown + public, digest_size=24).digest()
    return shown + Box(sender, PublicKey(public)).encrypt(document, nonce).ciphertext


def main(folder: Path) -> None:
    from tests.vectors.make_client import client_vectors

    for name, make in {**ALL, "client": client_vectors}.items():
        lines = ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in make())
        (folder / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
