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


@pytest.mark.parametrize("length", [0, 1, 4_095, 4_096, 4_097, 20_000])
def test_bytes_for_many_come_at_once_and_only_once(length: int) -> None:
    """The ids or salts of a whole batch, within a block, over its end, and longer than one."""
    before, made, after = fresh(40), fresh(length), fresh(40)
    assert len(made) == length
    parts = [made[at : at + 8] for at in range(0, length - 7, 8)]
    assert len(set(parts)) == len(parts)
    assert before != after
    assert before not in made
    assert after not in made


def test_a_length_below_nothing_is_a_mistake() -> None:
    """It would take the place back to bytes that somebody has."""
    with pytest.raises(ValueError, match="shorter"):
        fresh(-1)
