import dataclasses
import io

import pytest
from rich.console import Console

from hdl.spec.config import PRESETS
from sim.engine.hbm2_timing import HBM2Timing
from sim.engine.registry import make_engine
from sim.engine.timing import MemoryTiming
from sim.run.request import RunRequest
from sim.run.run import run_command

PAPER = PRESETS["paper"]


def test_errors():
    with pytest.raises(ValueError, match="mode must be one of ideal, hbm2, not 'ddr4'"):
        MemoryTiming(mode="ddr4")
    for name, value in (("latency", 30), ("stall", 0.5), ("skew", 4), ("queue", 8)):
        with pytest.raises(ValueError, match=f"{name} must be left as it is with mode hbm2, not {value}"):
            MemoryTiming(mode="hbm2", **{name: value})
    with pytest.raises(ValueError, match="hbm2 must be left as it is with mode ideal"):
        MemoryTiming(hbm2=HBM2Timing(tCL=20))
    with pytest.raises(ValueError, match=r"channel_width must be at most 256 \(a burst\) for hbm2, not 512"):
        make_engine("pysim", dataclasses.replace(PAPER, channel_width=512), timing=MemoryTiming(mode="hbm2"))


def test_queue_is_that_of_the_machine():
    timing = MemoryTiming(mode="hbm2")
    assert [timing.hbm2_of(PRESETS[name]).queue for name in ("paper", "tiny")] == [128, PRESETS["tiny"].outstanding]
    assert MemoryTiming(mode="hbm2", hbm2=HBM2Timing(queue=64)).hbm2_of(PAPER).queue == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "ddr4"}, "error: --memory must be one of ideal, hbm2, not 'ddr4'"),
        (
            {"memory": "hbm2", "memory_stall": 0.5},
            "error: --memory-stall must be left as it is with mode hbm2, not 0.5",
        ),
    ],
)
def test_errors_of_the_command_line(options, message):
    console = Console(file=io.StringIO(), width=200)
    assert run_command(RunRequest(**options), errors=console) == 2
    assert console.file.getvalue().strip() == message
