import pytest

from hdl.spec.config import PRESETS
from sim.engine.timing import MemoryTiming
from sim.model.in_flight import InFlight, Pass
from sim.model.query_rows import QueryRows
from sim.model.shape import Shape
from sim.model.sizes import Sizes

SIZES = Sizes(PRESETS["paper"], MemoryTiming())


def shape(keys, **fields):
    return Shape(dim=64, keys=keys, rows=fields.pop("rows", keys), value_keep=keys, **fields)


def reading(shapes, begin, index=0, second=False):
    made = QueryRows(SIZES, shapes)
    job = InFlight(shapes[index], index)
    beats = SIZES.lines(job.shape, job.shape.rows)
    return made.reading(Pass(job, job.shape.rows, beats, 0.0, 0.0, second=second), begin, beats), beats


def test_a_row_of_generation_takes_its_beats():
    found, beats = reading([shape(200, rows=1, generation=True)], 0.0)
    assert found == beats == 25


def test_long_rows_come_in_time():
    found, beats = reading([shape(384)], 1e6)
    assert found == beats


def test_short_rows_wait_for_their_round_trip():
    """32 rows a round trip, each of one line."""
    found, beats = reading([shape(8)], 1e6, second=True)
    assert beats == 8 and found == pytest.approx(8 * max(1, SIZES.query_trip(shape(8)) / 32))


def test_rows_that_meet_loads_are_slower():
    alone, _ = reading([shape(8)], 0.0)
    many, _ = reading([shape(8)] * 4, 0.0)
    idle, _ = reading([shape(8)] * 4, 1e6, second=True)
    assert idle < alone <= many
