"""The frozen vectors of what a browser seals; made with PyNaCl, which is let begin with a given key and header."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from nacl.public import PrivateKey

from encrypted_fields.core.context import ValueContext
from encrypted_fields.core.stream import CHUNK
from tests.support import client_sealing
from tests.vectors.make import OPENS, REFUSED, Vector, _base64, _box, _flip, drawn


def client_vectors() -> list[Vector]:
    keys = sorted((PrivateKey(drawn(f"reader {n}", 32)) for n in range(2)), key=client_sealing.key_id)
    content, header = drawn("content key", 32), drawn("secretstream", 24)
    row, notes, scan = b"17", "private_note", "private_file"

    def place(**moved: Any) -> bytes:
        found = {"tenant": "clinic-a", "model": "clinic.patient", "field": notes, "row": row, **moved}
        return ValueContext(**found).aad("cmk/client/1")

    def seal(
        data: bytes, readers: list[PrivateKey], where: bytes, bound: bool = True, name: str | None = None
    ) -> bytes:
        ids = [bytes.fromhex(client_sealing.key_id(key)) for key in readers]
        fixed_part = b"CMKE\1" + bytes([name is not None, bound, len(readers)])
        boxes = [known + _box(content, bytes(key.public_key)) for known, key in zip(ids, readers, strict=True)]
        chunks = client_sealing.messages(data, name)
        pushed = client_sealing.pushed(chunks, content, header, fixed_part + b"".join(ids) + where)
        return fixed_part + b"".join(boxes) + header + b"".join(pushed)

    def vector(name: str, comment: str, expect: str, data: bytes, **more: Any) -> Vector:
        shown = {"sealed": data.hex()} if len(data) < 3000 else {"sealed64": _base64(data)}
        return {
            "name": name, "comment": comment, "expect": expect, "private_key": bytes(keys[0]).hex(),
            "tenant": "clinic-a", "model": "clinic.patient", "field": notes, "row": row.hex(), **shown, **more,
        }  # fmt: skip

    text = b"Only for your eyes"
    good, two = seal(text, keys[:1], place()), seal(text, keys, place())
    file = seal(b"a scan", keys[:1], place(field=scan), name="knee.txt")
    long = drawn("client content", CHUNK + 20)
    whole = seal(long, keys[:1], place(field=scan), name="long.txt")
    in_file = {"field": scan, "filename": "knee.txt"}
    start = 8 + 96 + 24
    return [
        vector("text", "the worked example", OPENS, good, plaintext=text.hex()),
        vector("two-readers", "the first of two readers", OPENS, two, plaintext=text.hex()),
        vector("second-reader", "and the second", OPENS, two, plaintext=text.hex(), private_key=bytes(keys[1]).hex()),
        vector("new-row", "sealed before its row existed", OPENS, seal(text, keys[:1], place(row=None), bound=False),
               plaintext=text.hex(), row=None),
        vector("empty", "an empty text", OPENS, seal(b"", keys[:1], place()), plaintext=""),
        vector("file", "a file with its name", OPENS, file, plaintext=b"a scan".hex(), **in_file),
        vector("empty-file", "an empty file is one empty chunk", OPENS,
               seal(b"", keys[:1], place(field=scan), name="knee.txt"), plaintext="", **in_file),
        vector("long-file", "65,556 bytes", OPENS, whole, plaintext_sha256=sha256(long).hexdigest(), field=scan,
               filename="long.txt"),
        vector("another-reader", "sealed to somebody else", REFUSED, good, private_key=bytes(keys[1]).hex()),
        vector("another-row", "moved to another row", REFUSED, good, row=b"18".hex()),
        vector("another-field", "moved to another field", REFUSED, good, field="notes"),
        vector("another-tenant", "moved to another tenant", REFUSED, good, tenant="clinic-b"),
        vector("unbound", "the binding byte cleared", REFUSED, good[:6] + b"\0" + good[7:], row=None),
        vector("reader-left-out", "the second reader was taken out", REFUSED, two[:7] + b"\1" + two[8:104] + two[200:]),
        vector("flipped-box", "a flipped bit in the box", REFUSED, _flip(good, 60)),
        vector("flipped-header", "a flipped bit in the stream's header", REFUSED, _flip(good, 110)),
        vector("flipped-text", "a flipped bit in the text", REFUSED, _flip(good, start + 5)),
        vector("cut", "the last byte is missing", REFUSED, good[:-1]),
        vector("version", "a later version", REFUSED, good[:4] + b"\2" + good[5:]),
        vector("kind", "a text shown as a file", REFUSED, good[:5] + b"\1" + good[6:]),
        vector("file-cut", "the last chunk is missing", REFUSED, file[: start + 1041], **in_file),
        vector("long-file-cut", "cut after the first chunk", REFUSED, whole[: start + 1041 + 65553], field=scan,
               filename="long.txt"),
    ]  # fmt: skip
