"""What may stand in an address: a kind of configuration, its number, a secret's number, a step of its rotation."""

from __future__ import annotations

from tsp.contract.secrets import MAX_ID
from tsp.contract.tenant import MAX_CONFIG


class KindConverter:
    regex = "kms|siem"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class NumberConverter:
    """1 to 2^31-1 without leading zeros; anything else is no address."""

    regex = "[1-9][0-9]{0,9}"
    most = MAX_CONFIG

    def to_python(self, value: str) -> int:
        number = int(value)
        if number > self.most:
            raise ValueError("nothing has so high a number")
        return number

    def to_url(self, value: int) -> str:
        return str(value)


class SecretConverter(NumberConverter):
    """1 to 2^32-1."""

    most = MAX_ID


class StepConverter(KindConverter):
    regex = "begin|commit"
