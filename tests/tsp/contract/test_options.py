"""A provider's options: one dataclass is form, validation and redaction, and none of them says a value."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tsp.contract.draw import json_values, often
from tsp.contract.options import MAX_TEXT, OptionError, describe, load, option


@dataclass(frozen=True)
class Config:
    region: str = option("Region", choices=[("eu-1", "Frankfurt"), ("us-1", "Virginia")])
    token: str = option("Token", secret=True, multiline=True)
    port: int = option("Port", default=443)
    verify: bool = option("Verify TLS", default=True, help="Leave it on.")


GOOD = {"region": "eu-1", "token": "hunter2"}


def test_the_form_says_all_that_a_page_needs_and_is_json() -> None:
    form = json.loads(json.dumps(describe(Config)))
    assert [item["name"] for item in form] == ["region", "token", "port", "verify"]
    assert [item["type"] for item in form] == ["text", "text", "number", "flag"]
    assert [item["required"] for item in form] == [True, True, False, False]
    assert form[0]["choices"] == [["eu-1", "Frankfurt"], ["us-1", "Virginia"]]
    assert [item["secret"] for item in form] == [False, True, False, False]
    assert form[3] == {
        "name": "verify", "type": "flag", "required": False, "default": True, "label": "Verify TLS", "secret": False,
        "help": "Leave it on.", "multiline": False, "choices": [], "placeholder": "", "ends": "",
    }  # fmt: skip


def test_what_the_form_takes_loads() -> None:
    assert load(Config, GOOD) == Config("eu-1", "hunter2", 443, True)
    assert load(Config, GOOD | {"port": 8443, "verify": False}) == Config("eu-1", "hunter2", 8443, False)


@often
@given(st.dictionaries(st.sampled_from(["region", "token", "port", "verify", "other", ""]), json_values))
def test_arbitrary_values_raise_nothing_but_option_error(values: dict[str, Any]) -> None:
    with contextlib.suppress(OptionError):
        assert isinstance(load(Config, values), Config)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"region": "eu-1"}, "token"),
        (GOOD | {"token": ""}, "token"),
        (GOOD | {"token": None}, "token"),
        (GOOD | {"token": "x" * (MAX_TEXT + 1)}, "token"),
        (GOOD | {"region": "mars"}, "region"),
        (GOOD | {"port": "443"}, "port"),
        (GOOD | {"port": True}, "port"),
        (GOOD | {"port": 1.0}, "port"),
        (GOOD | {"verify": 1}, "verify"),
        (GOOD | {"other": "x"}, "region, token, port, verify"),
    ],
)
def test_names_the_option_and_never_its_value(values: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError) as caught:
        load(Config, values)
    assert named in str(caught.value)
    assert not any(word in str(caught.value) for word in ("hunter2", "mars", "xxx"))


def test_a_secret_does_not_print() -> None:
    assert "hunter2" not in repr(load(Config, GOOD))
    assert "eu-1" in repr(load(Config, GOOD))
