"""From plaintext to ciphertext and back, one deploy a step, while the table stays online. docs/moving.md, ADR 0018.

Two columns stand side by side: `name_plain = PlaintextField(…)` and `name = EncryptedField(…, plaintext="name_plain",
state=…)`. The state says who is right:

    state        reads                       writes                            filters
    plaintext    plaintext                   plaintext, ciphertext := NULL     plaintext
    dual         ciphertext, else plaintext  both                              plaintext
    readable     ciphertext, else plaintext  ciphertext, plaintext := NULL     none without an index
    encrypted    ciphertext                  ciphertext, plaintext := NULL     none without an index

So in every state a value in clear is never older than the ciphertext beside it, and two neighbouring states understand
what the other wrote.
"""

from __future__ import annotations

PLAINTEXT, DUAL, READABLE, ENCRYPTED = "plaintext", "dual", "readable", "encrypted"
STATES = (PLAINTEXT, DUAL, READABLE, ENCRYPTED)


class PlaintextLeft(RuntimeError):
    """A row of a field that says `state="encrypted"` still has its value in clear only. Nothing was read or written.

    Run `manage.py encrypt_existing`, or go back to the state before.
    """
