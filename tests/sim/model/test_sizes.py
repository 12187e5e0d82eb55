import pytest

from hdl.spec.config import PRESETS
from sim.engine.timing import MemoryTiming
from sim.model.latencies import FLIGHT
from sim.model.shape import Shape
from sim.model.sizes import Sizes

PAPER, TINY = Sizes(PRESETS["paper"], MemoryTiming()), Sizes(PRESETS["tiny"], MemoryTiming())


def test_rows_that_do_not_fill_lines_are_packed():
    shape = Shape(dim=64, keys=25, rows=12, value_keep=25)
    assert PAPER.packs(shape) and PAPER.lines(shape, 12) == 38, "300 scores in lines of 8"
    causal = Shape(dim=64, keys=25, rows=12, value_keep=25, causal=True)
    assert not PAPER.packs(causal) and PAPER.lines(causal, 12) == sum(-(-keys // 8) for keys in range(14, 26))


def test_packed_keys_stand_twice_in_part():
    """A line that begins with the end of a row needs the first keys again after the last."""
    packed, alone = (Shape(dim=64, keys=25, rows=2, value_keep=25, generation=alone) for alone in (False, True))
    assert (PAPER.slots(packed, 25), PAPER.slots(alone, 25)) == (25 + 7, 25)


def test_words_take_longer_if_too_few_are_in_flight():
    config = PRESETS["tiny"]
    assert TINY.period == pytest.approx((20 + FLIGHT) / config.outstanding) == 1.5
    assert Sizes(config, MemoryTiming(latency=5)).period == 1
    assert TINY.query_trip(Shape(dim=64, keys=1, value_keep=1)) > TINY.query_trip(Shape(dim=16, keys=1, value_keep=1))
