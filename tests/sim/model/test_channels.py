import dataclasses

import numpy as np

from hdl.spec.config import PRESETS
from sim.model.channels import Channels, Planes

PAPER = PRESETS["paper"]


def test_neighbours_share_words():
    # 64 elements of 6 bits: 1.5 words of 256 bits. Rows 0 and 16 lie in channel 0, words 0-1 and 1-2.
    planes = Planes(PAPER)
    rows = np.array([0, 1, 16, 49])  # row 49: words 4-5 of channel 1, nothing shared
    demand = planes.of_rows(rows, 0, 384, 1)
    assert demand.words == 7 and demand.cycles.tolist() == [3, 4] + 14 * [0]
    assert planes.of_rows(rows, 3, 384, 1).cycles.tolist() == [0, 0, 0, 3, 4] + 11 * [0]
    assert Planes(PAPER, 1.5).of_rows(rows, 0, 384, 1).cycles[:2].tolist() == [4.5, 6]


def test_slices_limit_a_channel():
    # 16 elements of 4 bits: four rows in a word, which are four slices.
    demand = Planes(PAPER).of_rows(np.arange(64), 0, 64, 1)
    assert demand.words == 16 and demand.cycles.tolist() == [4] * 16


def test_urgent_words_delay_loads():
    channels = Channels(dataclasses.replace(PAPER, num_channels=1))
    assert channels.load(0, np.array([10.0]))[1] == 10
    assert channels.fetch(15, np.array([4.0])) == 19
    begin, end = channels.load(12, np.array([10.0]))
    assert (begin[0], end[0]) == (12, 26)  # ten words of its own and the four
    assert channels.load(0, np.array([5.0]))[1] == 31  # which are not counted again


def test_urgent_words_in_an_idle_channel_delay_nothing():
    channels = Channels(dataclasses.replace(PAPER, num_channels=1))
    channels.fetch(0, np.array([4.0]))
    assert channels.load(20, np.array([10.0]))[1] == 30
