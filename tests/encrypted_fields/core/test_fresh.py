"""Ids and salts: nobody is given the same bytes twice, whichever thread or process asks."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from encrypted_fields.core.fresh import fresh


def test_no_bytes_are_given_out_twice() -> None:
    """Across the end of a block, and from many threads at once."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: [fresh(8) for _ in range(2_000)], range(16)))
    made = [one for each in found for one in each]
    assert {len(one) for one in made} == {8}
    assert len(set(made)) == len(made)


def test_a_forked_child_gets_other_bytes_than_its_parent() -> None:
    """Salts under one leased key would repeat, and with them a key and a nonce."""
    fresh(1)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, fresh(32))
        os._exit(0)
    mine = fresh(32)
    os.waitpid(child, 0)
    assert os.read(reading, 32) != mine
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("length", [0, -1, 65, 5_000])
def test_a_length_that_no_id_has_is_a_mistake(length: int) -> None:
    fresh(64)
    with pytest.raises(ValueError, match="1 to 64"):
        fresh(length)
