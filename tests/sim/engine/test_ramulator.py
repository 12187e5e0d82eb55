import dataclasses

import numpy as np

from hdl.spec.config import PRESETS
from sim.engine.hbm2_timing import HBM2Timing
from sim.engine.ramulator import export_ramulator

TINY, PAPER = PRESETS["tiny"], PRESETS["paper"]


def test_ramulator_trace(tmp_path):
    path = tmp_path / "words.trace"
    export_ramulator([np.array([0, 1, 5]), np.array([2])], path, dataclasses.replace(PAPER, num_channels=2))
    # Burst b of channel c is the 32 bytes from (2 m(b) + c) * 32; the channels take turns.
    numbers = [(0, 0), (2 * 32, 1), (1 * 32, 0), (1 * 32 + 2 * 64, 0)]
    assert lines(path) == [(2 * number + channel) * 32 for number, channel in numbers]
    # 64-bit words: four to a burst, read once.
    export_ramulator([np.array([0, 1, 3, 4, 0]), np.array([], int)], path, TINY)
    assert lines(path) == [0, 32 * 32 * TINY.num_channels, 0]
    export_ramulator([], path, TINY)
    assert path.read_text() == ""


def lines(path):
    assert all(line.startswith("LD 0x") for line in path.read_text().splitlines())
    return [int(line[3:], 16) for line in path.read_text().splitlines()]


def test_places_are_those_of_the_model(tmp_path):
    """What ``RoBaRaCoCh`` makes of an address: channel, column, pseudo channel, bank group, bank, row, from the low."""
    path, words = tmp_path / "words.trace", np.random.default_rng(1).permutation(1 << 13)[:500]
    export_ramulator([words], path, dataclasses.replace(PAPER, num_channels=1))
    for word, address in zip(words.tolist(), lines(path), strict=True):
        bank, row = HBM2Timing().place(word)
        number, column = divmod(address // 32, 32)
        number, pseudo = divmod(number, 2)
        number, group = divmod(number, 4)
        assert (number // 4, (pseudo * 4 + group) * 4 + number % 4, column) == (row, bank, word // 8 % 32)
