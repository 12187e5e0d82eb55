import dataclasses

import pytest

from golden.datapath.topk import bench_rows, quick_select_cycles
from hdl.spec.config import PRESETS
from sim.engine.timing import MemoryTiming
from sim.model.in_flight import InFlight, Pass
from sim.model.selection import Selection, topk_cycles
from sim.model.shape import Shape
from sim.model.sizes import Sizes

PAPER = PRESETS["paper"]


def selection(engines=2, parallelism=16):
    work = {"topk_busy": 0.0}
    sizes = Sizes(dataclasses.replace(PAPER, num_topk_engines=engines), MemoryTiming())
    return Selection(sizes, parallelism, work), work


def one_row(keys, keep):
    job = InFlight(Shape(dim=64, keys=keys, value_keep=keep, generation=True), 0)
    return Pass(job, 1, keys / 8, 0.0, 0.0, second=False)


def test_rows_that_keep_all_are_not_selected():
    made, work = selection()
    assert made.select(one_row(64, 64), 10.0, 18.0) == (0.0, 0.0, 18.0) and work["topk_busy"] == 0


def test_single_rows_go_to_the_engines_in_turn():
    made, work = selection()
    found = [made.select(one_row(1024, 100), 0.0, 128.0)[0] for _ in range(3)]
    assert found[0] == found[1] > 128 and found[2] > found[1], "the third one waits for the first engine"
    assert work["topk_busy"] > 0


def test_qk_waits_for_a_full_engine():
    made, _ = selection(engines=1)
    ends = [made.select(one_row(1024, 100), 0.0, 128.0)[2] for _ in range(4)]
    assert ends[0] == 128 and ends == sorted(ends) and ends[-1] > 300


def test_rows_of_a_pass_share_the_engines():
    job = InFlight(Shape(dim=64, keys=128, rows=64, value_keep=40), 0)
    rows = Pass(job, 64, 64 * 16.0, 0.0, 0.0, second=False)
    last = [selection(engines)[0].select(rows, 0.0, 1024.0)[1] for engines in (1, 2, 8)]
    assert last[0] > last[1] >= last[2] > 1024


def test_topk_cycles_are_a_mean_of_the_exact_model():
    rows = bench_rows("scores", 256, 100, 3)
    mean = sum(quick_select_cycles(row, 64, 16) for row in rows) / len(rows)
    assert topk_cycles(256, 64, 16) == pytest.approx(mean, rel=0.1)
