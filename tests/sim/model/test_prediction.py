import pytest

from hdl.spec.config import PRESETS
from sim.model.prediction import WORK, Prediction

PAPER = PRESETS["paper"]


def test_utilization_and_bound():
    work = dict(zip(WORK, (500.0, 400.0, 3000.0, 160.0, 1600.0, 0.0, 6240.0), strict=True))
    found = Prediction(cycles=1000.0, finished=[1000.0], work=work, config=PAPER)
    engines, channels = PAPER.num_topk_engines, PAPER.num_channels
    assert found.utilization["qk"] == 0.5 and found.utilization["pv"] == 0.4
    assert found.utilization["topk"] == pytest.approx(3 / engines)
    assert found.utilization["channels"] == pytest.approx(8 / channels)
    assert found.bound == max(found.utilization, key=found.utilization.get)
