"""Numbers of several figures, by their formulas."""

from types import SimpleNamespace

import pytest

from sim.model.prediction import WORK, Prediction
from sim.model.shape import Shape
from sim.reproduce.cases import Case
from sim.reproduce.entries import EIGHTH, FPGA, PAPER, bandwidth, bytes_of, gflops, measured, measured_by, peak, speed

FOUND = Prediction(
    cycles=500.0,
    finished=[500.0],
    work={name: float(index) for index, name in enumerate(WORK)},
    config=PAPER,
)


def test_configurations():
    assert [config.name for config in (PAPER, EIGHTH, FPGA)] == ["paper", "eighth", "ulx3s"]


def test_limits_of_the_paper():
    """Its Table I: 512 multipliers in each of two arrays at 1 GHz, and HBM2 of 512 GB/s."""
    assert peak(PAPER) == 2048 and bandwidth(PAPER) == 512
    assert peak(EIGHTH) == peak(PAPER) / 8 and bandwidth(FPGA) == 8


def test_bytes_are_those_of_the_words_alone():
    words = sum(FOUND.work[name] for name in ("query_words", "key_words", "key_lsb_words", "value_words"))
    assert words > 0 and bytes_of(FOUND) == words * 32


def test_speed_of_a_case():
    """Two operations for each product: 20 keys, and 5 values, of D = 64."""
    shape = Shape(dim=64, keys=20, value_keep=5, generation=True)
    case = Case(name="one", shapes=[shape], dense_operations=1.0)
    rate, cycles = speed("ours", 3, case, FOUND)
    assert rate.value == gflops(2 * 64 * 25, 500) == pytest.approx(6.4) and rate.unit == "GFLOPS"
    assert cycles.value == 500 and cycles.unit == "cycles"
    for entry in (rate, cycles):
        assert (entry.series, entry.x, entry.kind, entry.source) == ("ours", 3, "modelled", "sim/model/model.py")


def test_measured_runs_tell_how():
    run = SimpleNamespace(preset="paper", memory="hbm2", rows_checked=12, gflops=7.5)
    entry = measured("ours", "bert", run)
    assert (entry.value, entry.unit, entry.kind, entry.x) == (7.5, "GFLOPS", "measured", "bert")
    assert entry.source == measured_by(run) == "Verilator, preset paper, memory hbm2, 12 rows compared with golden"
