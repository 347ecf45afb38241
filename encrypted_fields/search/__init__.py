"""Search in encrypted fields: what an index may say is declared, `EncryptedField(…, index=[Exact(), Last(4)])`."""

from encrypted_fields.search.capabilities import By, Capability, Exact, Folded, Last, Prefix, Unique
from encrypted_fields.search.column import IndexColumn
from encrypted_fields.search.in_memory import TooManyRows, filtered_by, sorted_by
from encrypted_fields.search.ordered import Ordered

__all__ = [
    "By",
    "Capability",
    "Exact",
    "Folded",
    "IndexColumn",
    "Last",
    "Ordered",
    "Prefix",
    "TooManyRows",
    "Unique",
    "filtered_by",
    "sorted_by",
]
