"""What an index must not show: equality across tenants, fields and indexes; a guess without the key; another's row."""

from __future__ import annotations

import hashlib
import hmac
import threading
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from encrypted_fields import index_keys, tenant
from encrypted_fields.core.blind import HEAD, blind, index_key
from encrypted_fields.search import IndexColumn, filtered_by
from encrypted_fields.search.capabilities import folded
from encrypted_fields.testing import MemoryTsp, stored_bytes
from tests.sample_app.searchable import Customer

TEXT = st.text(max_size=12)


@given(st.lists(TEXT, min_size=1, max_size=4), st.lists(TEXT, min_size=1, max_size=4))
def test_no_boundary_can_be_shifted(one: list[str], other: list[str]) -> None:
    """T-7: ("ab", "c") and ("a", "bc") are two values, two places and two tenants."""
    key = b"k" * 32
    values = [[part.encode("utf-8", "surrogatepass") for part in parts] for parts in (one, other)]
    assert (blind(key, 1, values[0]) == blind(key, 1, values[1])) is (one == other)
    names = [part.encode("utf-8", "replace").decode() for part in one]
    pairs = [(names[0], name) for name in names[1:]] or [("m", "f")]
    keys = {
        index_key(key, "t", pairs, "exact"),
        index_key(key, "t", pairs, "exact/8"),
        index_key(key, "te", pairs, "xact"),
        index_key(key, "t", [*pairs, ("m", "f")], "exact"),
        index_key(key, "t", [(pairs[0][0] + "x", pairs[0][1]), *pairs[1:]], "exact"),
    }
    assert len(keys) == 5


@given(st.text(max_size=30))
def test_folding_twice_is_folding_once(text: str) -> None:
    assert folded(folded(text)) == folded(text) == folded(text.upper().lower()) or text.upper().lower() != text.lower()
    assert folded(folded(text)) == folded(text)


def index_values(row: Customer) -> dict[str, bytes]:
    names = [one.name for one in Customer._meta.local_fields if isinstance(one, IndexColumn)]
    found = {name: stored_bytes(row, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.django_db
def test_one_value_is_many_in_the_database(cmk_tsp: MemoryTsp) -> None:
    """Equal values of two tenants, fields or indexes have nothing in common but the number of the tenant's secret."""
    same = "1234567"
    rows = [
        Customer.objects.create(tenant_id=name, email=same, phone=same, name=same, city=same, login=same)
        for name in ("north", "south")
    ]
    found = [index_values(row) for row in rows]
    digests = [value[HEAD:] for values in found for name, value in values.items() if not name.endswith("_next")]
    long = [digest for digest in digests if len(digest) == 16]
    assert len(long) >= 10
    assert len(set(long)) == len(long)
    assert {value[:HEAD] for value in found[0].values()}.isdisjoint(value[:HEAD] for value in found[1].values())


@pytest.mark.django_db
def test_a_guess_cannot_be_confirmed_without_the_tenants_secret(cmk_tsp: MemoryTsp) -> None:
    """Vault's convergent encryption, version 2: whoever had the ciphertext could try values offline."""
    row = Customer.objects.create(tenant_id="north", email="ann@example.org")
    stored = index_values(row)["email_exact_index"][HEAD:]
    guesses = [b"ann@example.org", b"sann@example.org", (16).to_bytes(8, "big") + b"sann@example.org"]
    public = [b"", b"north", b"sample_app.customer", b"email", b"exact", b"encrypted_fields", b"index/1", bytes(32)]
    tried = {hashlib.sha256(guess).digest()[:16] for guess in guesses}
    for key in public:
        tried |= {hmac.digest(key, guess, "sha256")[:16] for guess in guesses}
        derived = index_key(key, "north", [("sample_app.customer", "email")], "exact")
        tried |= {hmac.digest(derived, guess, "sha256")[:16] for guess in guesses}
    assert stored not in tried


@pytest.mark.django_db
def test_an_index_value_of_another_tenant_is_not_found_and_a_moved_one_is_not_believed(cmk_tsp: MemoryTsp) -> None:
    Customer.objects.create(tenant_id="north", email="ann@x.org")
    other = Customer.objects.create(tenant_id="south", email="bob@x.org")
    mine = Customer.objects.create(tenant_id="north", email="eve@x.org")
    with connection.cursor() as cursor:
        cursor.execute("SELECT email_exact_index FROM sample_app_customer WHERE id != %s AND id != %s",
                       [other.pk.hex, mine.pk.hex])  # fmt: skip
        (stolen,) = cursor.fetchone()
        cursor.execute("UPDATE sample_app_customer SET email_exact_index = %s", [stolen])
    with tenant("south"):
        assert not Customer.objects.filter(tenant_id="south", email="ann@x.org").exists()
    with tenant("north"):
        rows = Customer.objects.filter(tenant_id="north")
        assert rows.filter(email="ann@x.org").count() == 2  # an index is no proof
        assert [row.email for row in filtered_by(rows, email="ann@x.org")] == ["ann@x.org"]


@pytest.mark.django_db
def test_keys_do_not_print_and_are_wiped_when_nobody_holds_them(cmk_tsp: MemoryTsp) -> None:
    with tenant("north"):
        Customer.objects.filter(email="x").count()
    secret = index_keys.live("north").newest
    shown = bytes(secret.key.view())
    assert shown.hex() not in repr(secret)
    assert repr(shown) not in repr(index_keys._held)
    key = secret.key
    view = key.view()
    index_keys.forget("north")
    assert bytes(view) == shown  # a statement that is under way goes on
    del secret, key
    assert bytes(view) == bytes(64)


@pytest.mark.django_db
def test_threads_share_one_derivation_and_a_refusal_ends_it_for_all(cmk_tsp: MemoryTsp) -> None:
    index_keys.live("north")
    before = len(cmk_tsp.calls)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(index_keys.live("north").newest.number)) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(set(found)) == 1
    assert len(cmk_tsp.calls) == before
