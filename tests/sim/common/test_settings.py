import dataclasses

import pytest

from sim.common.settings import UNCHANGED, Settings, option_of


def test_nothing_is_given_unless_it_is():
    assert Settings() == UNCHANGED and UNCHANGED.given == {}
    assert Settings(pin_last=0, scope="head").given == {"pin_last": 0, "scope": "head"}


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        UNCHANGED.scope = "head"


def test_names_of_options():
    assert option_of("value_keep") == "--value-keep" and option_of("pair/--no-pair") == "--pair/--no-pair"
    assert (option_of("mode"), option_of("latency"), option_of("stall")) == (
        "--memory",
        "--memory-latency",
        "--memory-stall",
    )
