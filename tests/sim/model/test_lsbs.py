from hdl.spec.config import PRESETS
from sim.engine.timing import MemoryTiming
from sim.model.in_flight import InFlight
from sim.model.lsbs import Lsbs
from sim.model.memory import Memory
from sim.model.prediction import WORK
from sim.model.shape import Shape
from sim.model.sizes import Sizes


def lsbs():
    sizes = Sizes(PRESETS["paper"], MemoryTiming())
    return Lsbs(sizes, Memory(sizes, dict.fromkeys(WORK, 0.0)))


def job(flat):
    fields = {"keys": 64, "value_keep": 64, "key_bits": 6, "key_lsb_bits": 4}
    return InFlight(Shape(dim=64, generation=True, flat_rows=flat, **fields), 0)


def test_lsbs_are_words_of_their_own():
    made, one = lsbs(), job(1)
    made.load(one, 100.0)
    assert one.lsb_last > 100 and made.memory._work["key_lsb_words"] == 64 * 64 * 4 / 256


def test_lsbs_come_ahead_after_a_flat_row_only():
    made, rows = lsbs(), [job(0), job(1), job(0), job(0)]
    made.load_ahead(rows[0], read=10.0, decided=20.0)
    assert not rows[0].lsb_last, "nothing was decided"
    made.load_ahead(rows[1], read=15.0, decided=30.0)
    assert not rows[1].lsb_last, "the row before was not flat"
    made.load_ahead(rows[2], read=25.0, decided=40.0)
    assert rows[2].lsb_last > 30, "the row before was decided flat at 30, before this one is decided"
    made.load_ahead(rows[3], read=45.0, decided=60.0)
    assert not rows[3].lsb_last, "since it was read the last one decided was not flat"


def test_the_last_decision_before_a_row_is_read_counts_for_it():
    """What is decided afterwards comes too late to hold the load back."""
    made, flat, plain, row = lsbs(), job(1), job(0), job(0)
    made.load_ahead(flat, read=5.0, decided=20.0)
    made.load_ahead(plain, read=6.0, decided=28.0)
    made.load_ahead(row, read=25.0, decided=40.0)
    assert row.lsb_last > 25
