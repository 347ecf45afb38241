"""Makes the keys of the test tokens: `python softhsm_keys.py MODULE PIN`."""

from __future__ import annotations

import sys

import pkcs11
from pkcs11 import Attribute, KeyType

ALLOWED = {
    "gcm": (True, False),
    "wrap": (False, True),
    "useless": (False, False),
}


def main(module: str, pin: str) -> None:
    loaded = pkcs11.lib(module)
    for label in ("cmk", "other"):
        with loaded.get_token(token_label=label).open(rw=True, user_pin=pin) as session:
            for name, (encrypts, wraps) in ALLOWED.items():
                session.generate_key(
                    KeyType.AES,
                    256,
                    label=name,
                    store=True,
                    template={
                        Attribute.SENSITIVE: True,
                        Attribute.EXTRACTABLE: False,
                        Attribute.ENCRYPT: encrypts,
                        Attribute.DECRYPT: encrypts,
                        Attribute.WRAP: wraps,
                        Attribute.UNWRAP: wraps,
                        Attribute.SIGN: False,
                        Attribute.VERIFY: False,
                    },
                )


if __name__ == "__main__":
    main(*sys.argv[1:])
