"""What only documents refuse. The rest of the errors: encrypted_fields.core.errors."""

from __future__ import annotations

from encrypted_fields.core.errors import CmkError


class AlreadyEncrypted(CmkError):
    """The value starts as an encrypted document does: sealing it twice is a mistake. Nothing was asked."""

    code, http = 901, 422
    default = "the value is an encrypted document already"
