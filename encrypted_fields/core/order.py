"""An order-revealing form of numbers that a database compares byte by byte, by its own means.

Chenette, Lewi, Weis, Wu: Practical Order-Revealing Encryption with Limited Leakage (FSE 2016), in the variant that is
order-preserving: for each bit, from the highest, a pseudo-random digit that depends on the bits above it, plus the bit.

    u32 number of the tenant secret ‖ for i = 1 … width: u16 of (F(key, i, bits 1 … i-1) + bit i)

F = the first 8 bytes of HMAC-SHA256, modulo 65,535, so that no digit overflows. Two numbers share the digits above the
first bit in which they differ, and there the larger one's digit is larger by one. What this shows to whoever reads the
column: for any two values which is larger, and the position of the first bit in which they differ; and a digit that
happens to be 0 or 65,535 (two of 65,536) shows its bit.
"""

from __future__ import annotations

import hmac

from encrypted_fields.core.blind import head

DIGIT = 2  # bytes
_RANGE = 65_535
MOST_WIDTH = 64


def ordered(key: hmac.HMAC, number: int, value: int, width: int) -> bytes:
    """`value` of 0 to 2^width - 1. `key` is what core.blind.ready made of the index key; `number` the tenant secret's.

    ValueError for a value outside, which is not shown.
    """
    if not 0 < width <= MOST_WIDTH:
        raise ValueError(f"an ordered number has 1 to {MOST_WIDTH} bits")
    if value < 0 or value >> width:
        raise ValueError(f"the value does not fit {width} bits")
    digits = bytearray(head(number))
    for place in range(1, width + 1):
        mac = key.copy()
        mac.update(bytes([place]) + (value >> (width - place + 1)).to_bytes(8, "big"))
        digit = int.from_bytes(mac.digest()[:8], "big") % _RANGE + (value >> (width - place) & 1)
        digits += digit.to_bytes(DIGIT, "big")
    return bytes(digits)
