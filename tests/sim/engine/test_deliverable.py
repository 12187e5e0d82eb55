import dataclasses
import random
import shutil

import numpy as np
import pytest

from hdl.spec.config import PRESETS
from sim.engine import deliverable
from sim.engine.deliverable import deliverable_cycles, peak_cycles
from sim.engine.hbm2 import HBM2Channel, drive
from sim.engine.hbm2_timing import HBM2Timing
from sim.engine.timing import MemoryTiming
from tests.bench.hbm2_streams import NEVER, random_stream

PAPER = PRESETS["paper"]


def test_deliverable(library, monkeypatch):
    source = random.Random(5)
    streams = [np.array(random_stream(source, count)[0], dtype="<u4") for count in (500, 0, 900)]
    timing = MemoryTiming(mode="hbm2")
    native = deliverable_cycles(streams, timing, PAPER)
    ends = [
        drive(HBM2Channel(timing.hbm2_of(PAPER), index, 32), words.tolist())[1] for index, words in enumerate(streams)
    ]
    assert native == max(ends[0][-1], ends[2][-1]) + 1
    monkeypatch.setattr(deliverable.shutil, "which", lambda name: None)
    assert deliverable_cycles(streams, timing, PAPER) == native
    assert deliverable_cycles([np.zeros(0, "<u4")], timing, PAPER) == deliverable_cycles([], timing, PAPER) == 0
    with pytest.raises(ValueError, match=r"stall must be 0 for deliverable cycles, not 0\.5"):
        deliverable_cycles(streams, MemoryTiming(stall=0.5), PAPER)


def test_window_and_peak(library):
    """A wider window never holds fewer bursts to choose from, and no window beats the peak rate less the refresh."""
    source = random.Random(6)
    streams = [np.array(random_stream(source, 30_000)[0], dtype="<u4")]
    timing = MemoryTiming(mode="hbm2")
    same, wide = (deliverable_cycles(streams, timing, PAPER, window=window) for window in (0, 256))
    assert same == deliverable_cycles(streams, timing, PAPER, window=PAPER.outstanding)
    narrow = dataclasses.replace(timing, hbm2=HBM2Timing(queue=4))
    assert peak_cycles(streams, timing, PAPER) < wide < same < deliverable_cycles(streams, narrow, PAPER)


def test_peak():
    timing = MemoryTiming(mode="hbm2", hbm2=HBM2Timing(tRP=40, tRFC=60, tREFI=1000))
    # 900 bursts a channel, a burst a cycle, of 1,000 cycles 900 without refresh.
    assert peak_cycles([np.arange(900), np.arange(5)], timing, PAPER) == 1000
    # The same word again is in the burst that is there; words of 64 bits come four to a burst.
    assert peak_cycles([np.repeat(np.arange(9), 3)], timing, PAPER) == 10
    assert peak_cycles([np.arange(36)], timing, PRESETS["tiny"]) == 10
    assert peak_cycles([np.arange(7), np.arange(9)], MemoryTiming(), PAPER) == 9
    assert peak_cycles([], timing, PAPER) == 0


@pytest.mark.parametrize(("latency", "queue"), [(20, 0), (5, 6), (5, 5), (7, 3), (3, 1)])
def test_deliverable_of_ideal_memory(latency, queue):
    """Against a queue that is counted cycle by cycle."""
    timing = MemoryTiming(latency=latency, queue=queue)
    for count in (1, 2, 7, 50):
        pending, sent, answered, cycle = [], 0, 0, 0
        while answered < count:
            takes = sent < count and len(pending) < timing.depth
            if pending and pending[0] <= cycle:
                pending.pop(0)
                answered += 1
            if takes:
                pending.append(cycle + latency)
                sent += 1
            cycle += 1
        assert deliverable_cycles([np.arange(count)], timing, PAPER) == cycle


def test_sequential_words_are_fast():
    """What docs/memory.md says: refresh costs 7 %, new rows 3 %, and without alternating groups a third is lost."""
    words = [np.arange(50_000, dtype="<u4")]

    def rate(**changes):
        timing = MemoryTiming(mode="hbm2", hbm2=HBM2Timing(**changes))
        return 50_000 / deliverable_cycles(words, timing, PAPER)

    if shutil.which("g++") is None:
        pytest.skip("slow without g++")
    assert 0.89 < rate() < 0.92
    assert 0.96 < rate(tREFI=NEVER) < 0.98
    assert rate(group_interleave=32) < 0.7
