"""Places for data keys that stay for a moment: many in one locked page, each wiped when it is free again."""

from __future__ import annotations

from encrypted_fields.core.aead import KEY_BYTES
from encrypted_fields.core.memory import SecretBytes, wipe

IN_A_PAGE = 127  # keys that one locked page holds beside its mark


class KeySlots:
    """Numbered places of 32 bytes. Not safe in threads. A forked child finds all of them wiped."""

    def __init__(self) -> None:
        self._pages: list[SecretBytes] = []
        self._free: list[int] = []

    def put(self, key: bytearray) -> int:
        """The number of a copy of `key`, which stays the caller's to wipe."""
        if not self._free:
            self._pages.append(SecretBytes(IN_A_PAGE * KEY_BYTES))
            last = len(self._pages) * IN_A_PAGE
            self._free.extend(range(last - IN_A_PAGE, last))
        slot = self._free.pop()
        self.view(slot)[:] = key
        return slot

    def view(self, slot: int) -> memoryview:
        """The live bytes. ValueError once they are wiped."""
        start = slot % IN_A_PAGE * KEY_BYTES
        return self._pages[slot // IN_A_PAGE].view()[start : start + KEY_BYTES]

    def is_wiped(self, slot: int) -> bool:
        return self._pages[slot // IN_A_PAGE].wiped  # at the end, and in a forked child

    def free(self, slot: int) -> None:
        """Wipe this one; its number will be given again."""
        if not self.is_wiped(slot):
            wipe(self.view(slot))
            self._free.append(slot)

    def wipe(self) -> None:
        """Every key."""
        for page in self._pages:
            page.wipe()
