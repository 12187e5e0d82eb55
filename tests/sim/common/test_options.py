import dataclasses

import pytest

from golden.host.algorithm import Algorithm, Schedule
from hdl.spec.config import PRESETS
from sim.common.errors import UserError
from sim.common.options import algorithm_of, naming, parse_ratios, parse_split
from sim.common.settings import Settings


def test_algorithm_of():
    tiny = PRESETS["tiny"]
    assert algorithm_of(None, Settings(), tiny) == Algorithm()
    narrow = algorithm_of(None, Settings(), dataclasses.replace(tiny, operand_width=10)).attention
    assert (narrow.query_bits, narrow.split, narrow.value_bits) == (10, "6+4", 8)
    named = algorithm_of("paper-bert", Settings(split="6+4", token_keep="0.5", pin_last=2), tiny)
    assert (named.attention.split, named.attention.value_keep) == ("6+4", 0.7)
    assert named.token_keep == Schedule(start=0.5, end=0.5, front=0.0) and (named.pin_first, named.pin_last) == (1, 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_default_algorithm_suits_every_preset(preset):
    config = PRESETS[preset]
    algorithm_of(None, Settings(), config).attention.check(config)


def test_parse_ratios():
    assert parse_ratios("token_keep", "0.8:0.4") == Schedule(start=0.8, end=0.4, front=0.15)
    assert parse_ratios("head_keep", "1 : 0.75") == Schedule(start=1.0, end=0.75, front=0.3)
    assert parse_ratios("token_keep", "1, 0.5,.25") == (1.0, 0.5, 0.25)
    assert parse_ratios("token_keep", "0.5").ratios(3) == (0.5, 0.5, 0.5)


def test_parse_split():
    assert parse_split("8+4") == (8, 4) and parse_split("12") == (12, 0) and parse_split("6 + 4") == (6, 4)
    for wrong in ("", "+", "8+", "8+4+2", "-8", "a"):
        with pytest.raises(UserError, match="--split must be"):
            parse_split(wrong)


def test_errors_name_the_option_that_set_the_field():
    with pytest.raises(UserError, match=r"^--value-keep must be in \(0, 1\], not 2$"), naming(["value_keep"]):
        raise ValueError("value_keep must be in (0, 1], not 2")
    with pytest.raises(UserError, match=r"^--algorithm: decay must be small$"), naming(["value_keep"]):
        raise ValueError("decay must be small")
    with pytest.raises(UserError, match=r"^--preset x: lanes must be 2$"), naming([], "--preset x"):
        raise ValueError("lanes must be 2")
