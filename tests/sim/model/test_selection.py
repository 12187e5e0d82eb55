import pytest

from golden.datapath.topk import bench_rows, quick_select_cycles
from sim.model.selection import topk_cycles


def test_topk_cycles_are_a_mean_of_the_exact_model():
    rows = bench_rows("scores", 256, 100, 3)
    mean = sum(quick_select_cycles(row, 64, 16) for row in rows) / len(rows)
    assert topk_cycles(256, 64, 16) == pytest.approx(mean, rel=0.1)
