import dataclasses

import numpy as np

from hdl.spec.config import PRESETS
from sim.engine.ramulator import export_ramulator

TINY, PAPER = PRESETS["tiny"], PRESETS["paper"]


def test_ramulator_trace(tmp_path):
    path = tmp_path / "words.trace"
    export_ramulator([np.array([0, 1, 5]), np.array([2])], path, dataclasses.replace(PAPER, num_channels=2))
    # Word w of channel c is the 32 bytes from (2 w + c) * 32; the channels take turns.
    assert path.read_text() == "LD 0x0\nLD 0xa0\nLD 0x40\nLD 0x140\n"
    # 64-bit words: four to a burst, read once.
    export_ramulator([np.array([0, 1, 3, 4, 0]), np.array([], int)], path, TINY)
    assert path.read_text() == "LD 0x0\nLD 0x40\nLD 0x0\n"
    export_ramulator([], path, TINY)
    assert path.read_text() == ""
