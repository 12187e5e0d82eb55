"""Where K and V of rows lie: heads in pairs, and the channel that each begins in."""

import dataclasses

import pytest

from hdl.spec.config import PRESETS
from sim.workload.layout import layout_of, lengths_of, parted, plane_of
from sim.workload.rows import Row

PAPER = PRESETS["paper"]
SMALL = dataclasses.replace(PAPER, max_tokens=64, key_rows=256, key_pages=16)


def row(head=0, layer=0, **fields):
    given = {
        "line": 2, "iteration": 0, "dim": 64, "tokens": 40, "keys": 20, "values": 7, "query_bits": 12,
        "file_query_bits": 12, "key_bits": 8, "key_lsb_bits": 4, "value_bits": 8, "threshold": 0.1, "flat": False,
        "topk": None, **fields,
    }  # fmt: skip
    return Row(layer=layer, head=head, **given)


def pairs(rows, config=PAPER):
    return [pair for pair, _ in layout_of(rows, config)]


def test_neighbours_of_even_and_odd_heads_are_pairs():
    assert pairs([row(head) for head in range(5)]) == [1, 2, 1, 2, 0]
    assert pairs([row(1), row(2), row(3)]) == [0, 1, 2]
    assert pairs([row(0), row(2)]) == [0, 0]
    assert [pair for pair, _ in layout_of([row(0), row(1)], PAPER, pair=False)] == [0, 0]


@pytest.mark.parametrize("own", [{"line": 3}, {"flat": True}, {"topk": 4}, {"values": 9}])
def test_what_the_heads_of_a_pair_may_have_of_their_own(own):
    assert pairs([row(0), row(1, **own)]) == [1, 2]


@pytest.mark.parametrize(
    "other",
    [
        {"layer": 1}, {"keys": 21}, {"tokens": 41}, {"iteration": 1}, {"query_bits": 8}, {"key_bits": 6},
        {"key_lsb_bits": 0}, {"value_bits": 6}, {"threshold": 0.2}, {"dim": 32},
    ],
)  # fmt: skip
def test_what_they_must_share(other):
    assert pairs([row(0), row(1, **other)]) == [0, 0]


def test_planes_that_end_at_another_length_are_no_pair():
    """The cache of a head is that of its longest row, in whichever step."""
    later = row(1, iteration=1, tokens=41)
    assert pairs([row(0), row(1), later]) == [0, 0, 0]
    assert pairs([row(0), row(1), row(0, iteration=1, tokens=41), later]) == [1, 2, 1, 2]


def test_rows_of_both_heads_must_be_served_and_leave_room():
    assert pairs([row(0, dim=PAPER.max_dim), row(1, dim=PAPER.max_dim)]) == [0, 0], "2·D is too wide"
    assert PAPER.lane_width == 64 and pairs([row(0, dim=32), row(1, dim=32)]) == [0, 0], "D is no whole slice"
    assert pairs([row(0, keys=8, tokens=8), row(1, keys=8, tokens=8)], SMALL) == [1, 2]
    assert pairs([row(0, keys=40), row(1, keys=40)], SMALL) == [0, 0], "more than a third of the K buffer"


def test_channels_are_those_of_the_heads_in_turn():
    rows = [row(head, layer) for layer in range(2) for head in range(3)]
    channels = PAPER.num_channels
    assert layout_of(rows, PAPER, pair=False) == [(0, place % channels) for place in range(6)]
    # pairs by their number; a head alone by its own
    assert layout_of(rows, PAPER) == [(1, 0), (2, 0), (0, 2), (1, 2), (2, 2), (0, 5)]
    many = [row(head) for head in range(2 * channels + 2)]
    assert [skew for _, skew in layout_of(many, PAPER, pair=False)] == [*range(channels), *range(channels), 0, 1]


def test_lengths_are_the_longest_of_each_plane():
    rows = [row(0), row(1), row(0, iteration=1, tokens=41), row(0, key_bits=6)]
    assert lengths_of(rows) == {plane_of(rows[0]): 41, plane_of(rows[1]): 40, plane_of(rows[3]): 40}
    assert plane_of(rows[0]) == (0, 0, 64, 8, 4, 8)


def test_rows_alone_and_in_pairs():
    rows = [row(head) for head in range(3)]
    assert parted(rows, [1, 2, 0]) == ([rows[2]], rows[:2])
