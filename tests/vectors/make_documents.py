"""Makes the frozen vectors of documents: `python -m tests.vectors.make_documents FOLDER`.

Ours are drawn as in `make` and come out the same each time. `python -m tests.vectors.make_documents --capture FOLDER`
writes what IronCore's clients made on a sandbox at one moment, with the data key: these differ each time.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from encrypted_fields.core import protobuf
from encrypted_fields.documents import v3, v5
from encrypted_fields.documents.key import DocumentKey
from tests.vectors.make import DEK, OPENS, REFUSED, drawn, fixed

Vector = dict[str, Any]
TENANT, PLAIN = "clinic-a", b"Penicillin: allergic"
EDEK = protobuf.length(1, protobuf.length(1, drawn("wrapped", 60)) + protobuf.varint(2, 7))
SECRET, DERIVED = 5111, drawn("derived", 64)


def field_vectors() -> list[Vector]:
    """One field and its EDEK. `tenant` is the one that asks."""
    with fixed("documents"), DocumentKey(bytearray(DEK)) as key:
        three, five = v3.make(key, TENANT) + key.seal(PLAIN), v5.MAGIC + key.seal(PLAIN)
        empty3, empty5 = v3.make(key, TENANT) + key.seal(b""), v5.MAGIC + key.seal(b"")
        other = v3.make(key, "clinic-b") + key.seal(PLAIN)
        signed = b"".join(v5.make(EDEK, TENANT, key))
        more = b"".join(v5.make(EDEK, TENANT, key, [(1, b"\x08\x01"), (3, b"\n\x01k\x12\x01v"), (9, 1)]))
        bare = v3.MAGIC + bytes(2) + key.seal(PLAIN)

    def vector(name: str, comment: str, expect: str, edek: bytes, field: bytes, plain: bytes = PLAIN) -> Vector:
        return {
            "name": name, "comment": comment, "expect": expect, "dek": DEK.hex(), "tenant": TENANT, "edek": edek.hex(),
            "field": field.hex(), "plaintext": plain.hex() if expect == OPENS else None,
        }  # fmt: skip

    return [
        vector("v3", "the worked example", OPENS, EDEK, three),
        vector("v5", "the worked example", OPENS, signed, five),
        vector("v3-empty", "an empty field", OPENS, EDEK, empty3, b""),
        vector("v5-empty", "an empty field", OPENS, signed, empty5, b""),
        vector("v5-more-signed", "encryption information, user metadata, an unknown member", OPENS, more, five),
        vector("v5-edek-v3-field", "as alloy's rekey leaves it", OPENS, signed, three),
        vector("v3-edek-v5-field", "a bare EDEK opens either", OPENS, EDEK, five),
        vector("v3-unsigned", "a header of no bytes", REFUSED, EDEK, bare),
        vector("v3-another-tenant", "signed for clinic-b", REFUSED, EDEK, other),
        vector("v3-signature", "a flipped bit in the signature", REFUSED, EDEK, _flip(three, 20)),
        vector("v3-tenant", "a flipped bit in the tenant", REFUSED, EDEK, _flip(three, 45)),
        vector("v3-tag", "a flipped bit in the tag", REFUSED, EDEK, _flip(three, -1)),
        vector("v5-tag", "a flipped bit in the tag", REFUSED, signed, _flip(five, -1)),
        vector("v5-magic", "another magic", REFUSED, signed, _flip(five, 0)),
        vector("v5-signature", "a flipped bit in the header's signature", REFUSED, _flip(signed, 12), five),
        vector("v5-payload", "a flipped bit in the signed tenant", REFUSED, _flip(signed, -1), five),
        vector("v5-key-id", "another configuration in the key id", REFUSED, _flip(signed, 3), five),
        vector("v5-type", "the key id of a standalone key", REFUSED, signed[:4] + b"\x82" + signed[5:], five),
        vector("v5-header-cut", "the last byte of the EDEK is missing", REFUSED, signed[:-1], five),
        vector("plaintext", "bytes that were never encrypted", REFUSED, signed, PLAIN),
    ]


def attached_vectors() -> list[Vector]:
    with fixed("attached"), DocumentKey(bytearray(DEK)) as key:
        blob = v5.attach(*v5.make(EDEK, TENANT, key)) + key.seal(PLAIN)

    def vector(name: str, comment: str, expect: str, found: bytes) -> Vector:
        return {
            "name": name, "comment": comment, "expect": expect, "dek": DEK.hex(), "tenant": TENANT, "blob": found.hex(),
            "plaintext": PLAIN.hex() if expect == OPENS else None,
        }  # fmt: skip

    return [
        vector("attached", "the worked example", OPENS, blob),
        vector("length", "the header's length is one more", REFUSED, _flip(blob, 7)),
        vector("signature", "a flipped bit in the signature", REFUSED, _flip(blob, 14)),
        vector("tag", "a flipped bit in the tag", REFUSED, _flip(blob, -1)),
        vector("cut", "the last byte is missing", REFUSED, blob[:-1]),
        vector("longer", "one byte more", REFUSED, blob + b"\0"),
    ]


def deterministic_vectors() -> list[Vector]:
    head = SECRET.to_bytes(4, "big") + bytes(2)
    alloy, tsc = (head + AESSIV(DERIVED).encrypt(PLAIN, ad) for ad in ([b""], None))

    def vector(name: str, comment: str, expect: str, dialect: str, data: bytes) -> Vector:
        return {
            "name": name, "comment": comment, "expect": expect, "derived_key": DERIVED.hex(), "secret": SECRET,
            "dialect": dialect, "field": data.hex(), "plaintext": PLAIN.hex() if expect == OPENS else None,
        }  # fmt: skip

    return [
        vector("alloy", "one empty associated-data string", OPENS, "alloy", alloy),
        vector("tsc", "no associated data", OPENS, "tsc", tsc),
        vector("alloy-as-tsc", "the dialects do not read each other", REFUSED, "tsc", alloy),
        vector("tsc-as-alloy", "the dialects do not read each other", REFUSED, "alloy", tsc),
        vector("another-secret", "a secret that is archived", REFUSED, "alloy", _flip(alloy, 3)),
        vector("damaged", "a flipped bit", REFUSED, "alloy", _flip(alloy, 9)),
    ]


async def captured() -> list[Vector]:
    """Written by ironcore-alloy 0.16.1 and tenant-security-nodejs 4.1.3, with the key that the sandbox gave out."""
    from encrypted_fields.client import TspClient
    from encrypted_fields.conf import Conf
    from encrypted_fields.core.protocol import Metadata
    from encrypted_fields.documents import edeks
    from tests.interop.clients import NodeClient, b64, metadata, saas_shield, unb64
    from tests.support.sandbox import sandbox

    with sandbox(TENANT) as proxy:
        ours, about = TspClient(Conf(tsp_url=proxy.url, api_key=proxy.api_key)), Metadata(TENANT, "vectors")
        shield = saas_shield(proxy.url, proxy.api_key)
        legacy = saas_shield(proxy.url, proxy.api_key, legacy=True)
        node = NodeClient(proxy.url, proxy.api_key)

        def vector(name: str, edek: bytes, **parts: bytes) -> Vector:
            dek = ours.unwrap(about, edeks.read(edek).sent)
            shown = {part: data.hex() for part, data in parts.items()}
            return {
                "name": name,
                "dek": dek.hex(),
                "tenant": TENANT,
                "edek": edek.hex(),
                **shown,
                "plaintext": PLAIN.hex(),
            }

        five = await shield.standard().encrypt({"f": PLAIN}, metadata(TENANT))
        three = await legacy.standard().encrypt({"f": PLAIN}, metadata(TENANT))
        writing = await shield.standard().create_streaming_encryptor(metadata(TENANT))
        streamed = writing.encrypt_chunk(PLAIN) + writing.finish()
        nodes = node.call("encrypt", TENANT, document={"f": b64(PLAIN)})
        streams = node.call("encryptStream", TENANT, data=b64(PLAIN))
        node.close()
        blob = await shield.standard_attached().encrypt(PLAIN, metadata(TENANT))
        size = v5.attached_size(blob[:8])
        return [
            vector("alloy-v5", five.edek, field=five.document["f"]),
            vector("alloy-v5-stream", writing.edek(), field=streamed),
            vector("alloy-v3", three.edek, field=three.document["f"]),
            vector("alloy-attached", blob[:6] + blob[8:size], blob=blob),
            vector("node-v3", unb64(nodes["edek"]), field=unb64(nodes["encryptedDocument"]["f"])),
            vector("node-v3-stream", unb64(streams["edek"]), field=unb64(streams["data"])),
        ]


ALL = {
    "documents-fields": field_vectors,
    "documents-attached": attached_vectors,
    "documents-deterministic": deterministic_vectors,
}


def _flip(data: bytes, position: int) -> bytes:
    position %= len(data)
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def _write(folder: Path, name: str, vectors: list[Vector]) -> None:
    lines = ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in vectors)
    (folder / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main(folder: Path) -> None:
    for name, make in ALL.items():
        _write(folder, name, make())


if __name__ == "__main__":
    if sys.argv[1] == "--capture":
        _write(Path(sys.argv[2]), "documents-captured", asyncio.run(captured()))
    else:
        main(Path(sys.argv[1]))
