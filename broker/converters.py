"""What may stand in an address: a kind of configuration, and a configuration's number."""

from __future__ import annotations

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

    def to_python(self, value: str) -> int:
        number = int(value)
        if number > MAX_CONFIG:
            raise ValueError("no configuration has so high a number")
        return number

    def to_url(self, value: int) -> str:
        return str(value)
