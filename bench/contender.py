"""Run as a program: one way to keep three text fields, at work. `contender.py NAME` reads the names of works from its
input and answers each with a line of JSON, {"ms": …, "calls": …}.

NAME is "plain", "binary" (BinaryField, as long as our stored values), "encrypted" (keys in hand: a dictionary for a
proxy), "shared" (the same, 500 rows a key), "leased" (the proxy of CMK_TSP_URL) or another package, of which
`.venv/peers` comes first on the path: one of them has our name. DATABASE is a Django database setting as JSON.
"""

from __future__ import annotations

import base64
import gc
import json
import os
import sys
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COUNT = int(os.environ.get("COUNT", "5000"))
FEW = max(1, COUNT // 5)  # rows that are saved one by one, or updated
TEXT = "0123456789abcdef0123456789abcdef"  # 32 characters, as in the published peer measurements
STORED = 134  # bytes of a stored value: 33 of plaintext, 35 around it, an EDEK of 66
EDEK = 66  # bytes, as the proxy in memory makes them
OURS = ("encrypted", "shared", "leased")
PEERS = (
    "django-tink-fields",
    "djfernet",
    "django-fernet-encrypted-fields",
    "django-encrypted-model-fields",
    "django-cryptography-5",
)


class InHand:
    """A key service that costs a look into a dictionary."""

    def __init__(self) -> None:
        self.calls = 0
        self._deks: dict[bytes, bytes] = {}
        self._made: deque[Any] = deque()

    def make(self, count: int) -> None:
        """Before the clock runs."""
        from encrypted_fields.core.protocol import WrappedKey

        pairs = [(os.urandom(32), os.urandom(EDEK)) for _ in range(count)]
        self._deks |= {edek: dek for dek, edek in pairs}
        self._made = deque(WrappedKey(bytearray(dek), edek) for dek, edek in pairs)

    def wrap(self, about: Any) -> Any:
        return self.batch_wrap(about, 1)[0]

    def batch_wrap(self, about: Any, count: int) -> list[Any]:
        self.calls += 1
        return [self._made.popleft() for _ in range(count)]

    def report_operations(self, about: Any, uses: Any) -> None:
        """Nobody listens."""

    def unwrap(self, about: Any, edek: bytes) -> bytearray:
        return self.batch_unwrap(about, [edek])[0]

    def batch_unwrap(self, about: Any, edeks: list[bytes]) -> list[bytearray]:
        self.calls += 1
        return list(map(bytearray, map(self._deks.__getitem__, edeks)))


class Contender:
    """The works, by name. Each prepares itself, then runs once under the clock."""

    def __init__(self, model: Any, service: Any) -> None:
        self.model, self.service = model, service
        self.sharing: Callable[[], Any] = nullcontext
        self.is_full = False

    def read(self) -> Callable[[], object]:
        self._fill()

        def work() -> None:
            found = 0
            for row in self.model.objects.all():
                found += len(row.name) + len(row.born) + len(row.notes)
            assert found == 3 * (STORED if self.model.binary else len(TEXT)) * COUNT, "the rows were not read back"

        return work

    def load(self) -> Callable[[], object]:
        self._fill()

        def work() -> None:
            found = 0
            for _ in self.model.objects.all():
                found += 1
            assert found == COUNT

        return work

    def values(self) -> Callable[[], object]:
        self._fill()

        def work() -> None:
            found = self.model.objects.values_list("name", "born", "notes")
            assert sum(len(part) for row in found for part in row) == 3 * len(TEXT) * COUNT

        return work

    def bulk(self) -> Callable[[], object]:
        self._empty()
        return self._bulk

    def save(self) -> Callable[[], object]:
        from django.db import transaction

        self._empty()

        def work() -> None:
            with transaction.atomic():
                for row in self._rows(FEW):
                    row.save(force_insert=True)

        return work

    def update(self) -> Callable[[], object]:
        self._fill()
        rows = list(self.model.objects.all()[:FEW])
        for row in rows:
            row.name = TEXT[::-1]
        self._keys(FEW)
        self.is_full = False
        return lambda: self.model.objects.bulk_update(rows, ["name"])

    def batches(self) -> Callable[[], object]:
        """What the proxy alone takes: the same wrapped keys, a thousand a call, and nothing done with the keys."""
        from encrypted_fields.client import current
        from encrypted_fields.core.envelope import parse
        from encrypted_fields.tenancy import metadata
        from encrypted_fields.testing import stored_bytes

        self._fill()
        edeks = [parse(stored_bytes(row, "name") or b"").edek for row in self.model.objects.all()]

        def work() -> None:
            for start in range(0, COUNT, 1000):
                current().batch_unwrap(metadata("a", "bench", None), edeks[start : start + 1000])

        return work

    def _rows(self, count: int) -> list[Any]:
        if self.model.binary:
            return [self.model(name=os.urandom(STORED), born=os.urandom(STORED), notes=os.urandom(STORED))
                    for _ in range(count)]  # fmt: skip
        return [self.model(name=TEXT, born=TEXT, notes=f"{TEXT[:24]}{number:08}") for number in range(count)]

    def _bulk(self) -> None:
        from django.db import transaction

        with transaction.atomic(), self.sharing():
            self.model.objects.bulk_create(self._rows(COUNT), batch_size=500)

    def _keys(self, count: int) -> None:
        if isinstance(self.service, InHand):
            self.service.make(count)

    def _empty(self) -> None:
        self.model.objects.all().delete()
        self._keys(COUNT)
        self.is_full = False

    def _fill(self) -> None:
        if not self.is_full:
            self._empty()
            self._bulk()
            self.is_full = True


def field_of(name: str) -> Callable[[], Any]:
    """What makes a text field of this contender."""
    from django.db import models

    if name == "plain":
        return models.TextField
    if name == "binary":
        return models.BinaryField
    if name in OURS:
        from encrypted_fields import EncryptedField

        return lambda: EncryptedField(models.TextField())
    if name == "django-cryptography-5":
        from django_cryptography.fields import encrypt

        return lambda: encrypt(models.TextField())
    modules = {
        "django-tink-fields": "tink_fields",
        "djfernet": "fernet_fields",
        "django-fernet-encrypted-fields": "encrypted_fields.fields",
        "django-encrypted-model-fields": "encrypted_model_fields.fields",
    }
    return __import__(modules[name], fromlist=["*"]).EncryptedTextField  # type: ignore[no-any-return]


def settings_of(name: str, folder: Path) -> dict[str, Any]:
    """Fresh keys for the other packages, as their pages say."""
    if name == "django-tink-fields":
        from tink import aead, json_proto_keyset_format, new_keyset_handle, secret_key_access

        aead.register()
        keys = new_keyset_handle(aead.aead_key_templates.AES256_GCM)
        path = folder / "keys.json"
        path.write_text(json_proto_keyset_format.serialize(keys, secret_key_access.TOKEN))
        return {"TINK_FIELDS_CONFIG": {"default": {"cleartext": True, "path": str(path)}}}
    if name in PEERS:
        secret = base64.urlsafe_b64encode(os.urandom(32)).decode()
        return {"FERNET_KEYS": [secret], "SALT_KEY": secret, "FIELD_ENCRYPTION_KEY": secret}
    if name in OURS:
        here = {"CMK_TSP_URL": os.environ.get("CMK_TSP_URL", ""), "CMK_TSP_API_KEY": os.environ.get("CMK_TSP_API_KEY")}
        return {"INSTALLED_APPS": ["encrypted_fields"], "CMK_REQUESTING_ID": "bench", "CMK_TSP_SECONDS": 30,
                **(here if name == "leased" else {})}  # fmt: skip
    return {}


def main(name: str) -> None:
    sys.path = [path for path in sys.path if path not in ("", str(ROOT), str(ROOT / "bench"))]
    sys.path.insert(0, str(ROOT) if name not in PEERS else str(Path(sys.prefix) / "peers"))
    import django
    from django.conf import settings

    with tempfile.TemporaryDirectory() as folder:
        settings.configure(
            SECRET_KEY="bench", USE_TZ=True, DATABASES={"default": json.loads(os.environ["DATABASE"])},
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", **settings_of(name, Path(folder)),
        )  # fmt: skip
        django.setup()
        from django.db import connection, models

        made = field_of(name)
        meta = type("Meta", (), {"app_label": "bench", "db_table": f"bench_{name.replace('-', '_')}"})
        key = models.UUIDField(primary_key=True, default=uuid.uuid4)
        body = {"id": key, "name": made(), "born": made(), "notes": made(), "binary": name == "binary"}
        model: Any = type("Row", (models.Model,), {"__module__": __name__, "Meta": meta, **body})
        with connection.schema_editor() as editor:
            editor.create_model(model)
        serve(name, model)


def serve(name: str, model: Any) -> None:
    if name in OURS:
        from encrypted_fields import client, reuse_keys, tenancy

        service: Any = client.current() if name == "leased" else InHand()
        if name == "leased":
            count_calls(service)
        else:
            client.install(service)
        contender = Contender(model, service)
        if name == "shared":
            contender.sharing = lambda: reuse_keys(seconds=60, uses=1, rows_per_key=500)
        with tenancy.tenant("a"):
            answer(contender, service)
    else:
        answer(Contender(model, None), None)


def count_calls(service: Any) -> None:
    call, service.calls = service._call, 0

    def counted(*args: Any) -> Any:
        service.calls += 1
        return call(*args)

    service._call = counted


def answer(contender: Contender, service: Any) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        work = getattr(contender, line.strip())()
        gc.collect()
        before, start = getattr(service, "calls", 0), time.perf_counter()
        work()
        spent = time.perf_counter() - start
        print(json.dumps({"ms": spent * 1e3, "calls": getattr(service, "calls", 0) - before}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
