"""The AXI top attends what it has appended: pairs of jobs, and a window of tokens that goes with the sequence."""

import random

import pytest
import torch

from hdl.spec.formats import Opcode
from sim.transport.commands import read_tokens
from tests.bench.append_planes import KEY, QUERY, VALUE
from tests.bench.append_scene import AppendScene
from tests.hdl.test_spatten_axi_append import planes_of, run

long = pytest.mark.long

WIDTHS = [(8, 6, 0, 8), (6, 4, 4, 6), (12, 8, 4, 4)]
"""Of Q, K, its LSBs and V."""


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=long) for seed in range(1, 6))])
def test_pairs(seed, widths):
    """A pair attends old rows and new ones, and another one what is appended between the two."""
    planes = planes_of("tiny", seed, widths=widths, paired=True, group=1, queries=1, rows=7)
    scene, half = AppendScene(planes, seed=seed, stall=0.2), bool(seed % 2)
    appends, pairs, commands = [], [], []
    for first in (4, 5):
        appends += [scene.append(KEY, VALUE, first=first, rows=2, half=half), scene.append(QUERY, half=not half)]
        pairs.append(scene.pair(tag=10 * first))
        commands += [*(each.command for each in appends[-2:]), [each.command for each in pairs[-1]]]
    run(scene, *commands)
    found = [scene.completions[number] for number in range(8)]
    assert [each["code"] for each in found] == [0] * 8
    assert [each["tokens"] for each in found if each["opcode"] == Opcode.APPEND] == [each.saturated for each in appends]
    assert [each["tag"] for each in found if each["opcode"] == Opcode.PAIR] == [40, 41, 50, 51]
    scene.check()
    for attention in (each for pair in pairs for each in pair):
        scene.check_attention(attention)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=long) for seed in range(1, 6))])
def test_window_of_ids(seed):
    """Token after token: K, V and Q are appended, and the first token and the last three attended.

    The window goes on by itself: each layer's selection writes it back with the next row.
    """
    rng, first = random.Random(seed), 4
    planes = planes_of("tiny", seed, group=2, queries=1, rows=first + 3, dim=16)
    scene = AppendScene(planes, seed=seed, stall=0.2)
    window = {"token_keep": 3, "head_keep": planes.heads * 2, "pin_first": 1, "pin_last": 2}
    ids, importance = torch.tensor([0, 2, 3, 4]), torch.tensor([*(rng.randrange(1 << 20) for _ in range(3)), 0])
    commands, layers, tokens = [], [], []
    for row in range(first, first + 3):
        appends = [scene.append(KEY, VALUE, first=row), scene.append(QUERY)]
        state = layers[0].placed.state if layers else 0
        fields = {"ids": ids, "importance": importance, **window}
        layers.append(scene.attention(tag=row, rows=row + 1, state=state, **fields))
        commands += [*(each.command for each in appends), layers[-1].command]
        tokens += [*(each.saturated for each in appends), 3]
        kept = layers[-1].selection.survivors()
        assert kept.ids.tolist() == [0, row - 1, row]
        ids, importance = torch.tensor([*kept.ids, row + 1]), torch.tensor([*kept.importance, 0])
    run(scene, *commands)
    found = [scene.completions[number] for number in range(9)]
    assert [(each["code"], each["tokens"]) for each in found] == [(0, count) for count in tokens]
    for attention in layers:
        scene.check_attention(attention)
    assert read_tokens(layers[0].placed.state, scene.memory) == list(
        zip(ids.tolist(), importance.tolist(), strict=True)
    )
    scene.check()
