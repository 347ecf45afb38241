"""Run as a program with .venv/peers before this project on the path: writes values with one of the other packages.

Arguments: the package's name. Prints {type: base64 of the column's bytes or the column's text}.
"""

from __future__ import annotations

import base64
import datetime
import json
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path = [str(ROOT / ".venv" / "peers"), *(path for path in sys.path if path not in ("", str(ROOT)))]

SETTINGS: dict[str, Any] = {
    "SECRET_KEY": "the secret of another time",
    "SALT_KEY": ["salt one", "salt two"],
    "FIELD_ENCRYPTION_KEY": [
        base64.urlsafe_b64encode(b"k" * 32).decode(),
        base64.urlsafe_b64encode(b"o" * 32).decode(),
    ],
    "FERNET_KEYS": ["newest", "older"],
    "CRYPTOGRAPHY_KEY": "its own key",
    "CRYPTOGRAPHY_SALT": "its own salt",
    "SECRET_KEY_FALLBACKS": ["an older secret"],
}
VALUES: dict[str, Any] = {
    "text": "Penicillin: allergic, Ärztin 🏥",
    "empty": "",
    "number": -42,
    "zero": 0,
    "flag": False,
    "day": datetime.date(1990, 5, 17),
    "moment": datetime.datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=datetime.UTC),
    "real": 1.5,
    "money": Decimal("12.30"),
    "uid": uuid.UUID(int=7),
    "tree": {"a": ["x", {"b": "y"}]},
    "binary": b"\x00\xff",
}
CAN = {
    "django_cryptography": set(VALUES),
    "encrypted_model_fields": {"text", "empty", "number", "zero", "flag", "day", "moment"},
    "djfernet": {"text", "empty", "number", "zero", "day", "moment", "binary"},
    "fernet_encrypted_fields": {"text", "number", "day", "moment", "real", "tree"},  # "", 0 and False it keeps as NULL
}
TYPES = {
    "text": "Char", "empty": "Char", "number": "Integer", "zero": "Integer", "flag": "Boolean", "day": "Date",
    "moment": "DateTime", "real": "Float", "money": "Decimal", "uid": "UUID", "tree": "JSON", "binary": "Binary",
}  # fmt: skip


def main(package: str) -> None:
    import django
    from django.conf import settings

    settings.configure(
        **SETTINGS, USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", INSTALLED_APPS=[],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    )  # fmt: skip
    django.setup()
    from django.db import connection, models

    def made(name: str) -> Any:
        options: dict[str, Any] = {"null": True}
        if TYPES[name] == "Char":
            options["max_length"] = 100
        if TYPES[name] == "Decimal":
            options |= {"max_digits": 8, "decimal_places": 2}
        if package == "django_cryptography":
            from django_cryptography.fields import encrypt

            return encrypt(getattr(models, TYPES[name] + "Field")(**options))
        module = __import__(
            {"djfernet": "fernet_fields", "fernet_encrypted_fields": "encrypted_fields"}.get(package, package)
            + ".fields",
            fromlist=["*"],
        )
        return getattr(module, f"Encrypted{TYPES[name]}Field")(**options)

    names = sorted(CAN[package])
    body: dict[str, Any] = {name: made(name) for name in names}
    meta = type("Meta", (), {"app_label": "peer"})
    model: Any = type("Row", (models.Model,), {"__module__": __name__, "Meta": meta, **body})
    with connection.schema_editor() as editor:
        editor.create_model(model)
    model.objects.create(**{name: VALUES[name] for name in names})
    found = {}
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"SELECT {name} FROM peer_row")
            (stored,) = cursor.fetchone()
            found[name] = {"text": stored} if isinstance(stored, str) else {"bytes": base64.b64encode(stored).decode()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
