"""Outputs, kept keys and costs of each system against attention written out, and by hand."""

import math

import pytest
import torch

from sim.rivals.a3 import A3
from sim.rivals.dense import Dense
from sim.rivals.heads import Integers
from sim.rivals.mnnfast import MNNFast
from sim.rivals.rival import RIVALS
from sim.rivals.work import Work
from tests.sim.rivals.scenes import each_row, heads_of

SHAPES = (
    {},
    {"batch": 2, "kv_heads": 3, "rows": 12, "keys": 12},
    {"kv_heads": 2, "steps": 4, "rows": 2, "keys": 9, "generation": True},
    {"rows": 1, "keys": 1},
)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


@every_shape
@pytest.mark.parametrize("system", (Dense(), A3(name="a3_base"), MNNFast(threshold=0)), ids=lambda each: each.name)
def test_without_approximation_it_is_softmax(system, shape):
    heads = heads_of(**shape)
    done = system.attend(heads)
    for place, scores, values in each_row(heads, system.bits):
        torch.testing.assert_close(done.out[place], scores.softmax(-1) @ values)
        assert done.keep[place].tolist() == [True] * len(scores) + [False] * (len(done.keep[place]) - len(scores))


def test_integers_are_the_operands():
    heads = heads_of(batch=2, kv_heads=2, keys=20)
    fine = Integers.of(heads, 12)
    want = heads.query @ heads.key.transpose(-1, -2)[:, :, None] * heads.scaling
    torch.testing.assert_close(fine.scores(), want, atol=0.02, rtol=0)
    assert fine.key.abs().max() == 2047


@every_shape
@pytest.mark.parametrize("threshold", (0.05, 0.3))
def test_mnnfast_streams(shape, threshold):
    """A loop that has seen no key but those so far."""
    heads = heads_of(**shape, spread=2.0)
    system = MNNFast(threshold=threshold)
    done = system.attend(heads)
    skipped = 0
    for place, scores, values in each_row(heads, system.bits):
        total, out, keep = 0.0, torch.zeros(values.shape[1], dtype=torch.float64), []
        for score, value in zip(scores.tolist(), values, strict=True):
            weight = math.exp(score)
            total += weight
            keep.append(weight >= threshold * total)
            out += weight * value * keep[-1]
        torch.testing.assert_close(done.out[place], out / total)
        assert done.keep[place][: len(keep)].tolist() == keep
        skipped += keep.count(False)
    assert done.work.kept == done.work.attended - skipped
    assert skipped or shape.get("keys") == 1


@every_shape
def test_a3_keeps_what_scores_near_the_largest(shape):
    heads = heads_of(**shape, spread=2.0)
    system = A3(name="a3", share=1 / 2, percent=5)
    done = system.attend(heads)
    found = system._search(heads, Integers.of(heads, system.bits))
    for place, scores, values in each_row(heads, system.bits):
        chosen = found.candidates[place][: len(scores)]
        keep = chosen & (scores >= scores[chosen].max() - math.log(20))
        assert done.keep[place][: len(scores)].equal(keep)
        torch.testing.assert_close(done.out[place], scores[keep].softmax(-1) @ values[keep])
    assert done.work.scored == int(found.candidates.sum()) >= done.work.kept == int(done.keep.sum())


def test_iterations():
    lengths = torch.tensor([1, 15, 16, 320])
    assert RIVALS["a3_conservative"].iterations(lengths).tolist() == [1, 7, 8, 160]
    assert RIVALS["a3_aggressive"].iterations(lengths).tolist() == [1, 1, 2, 40]


# Costs, by hand ------------------------------------------------------------------------------------------------


def test_dense_is_bound_by_the_multipliers_in_summarization():
    """64 rows of 64 keys, D = 64: a row takes 64 cycles in each array, the last one's prob·V 64 more."""
    work = Dense().attend(heads_of(rows=64, keys=64, dim=64)).work
    assert work.compute_cycles == work.cycles == 64 * 64 + 64
    assert work.bytes == 3 * 64 * 64 * 1.5
    assert work.memory_cycles == work.bytes / 64
    assert work.products == work.dense_products == 2 * 64**3
    assert work.gops == pytest.approx(256 * 64 / 65)


def test_dense_reads_each_head_once_a_step():
    """Two heads of 3 rows, 256 keys of 64: K and V of both are 96 KiB, 6 rows of Q 576 bytes."""
    work = Dense().attend(heads_of(kv_heads=2, rows=3, keys=256, dim=64, generation=True)).work
    assert work.bytes == 2 * 2 * 256 * 96 + 6 * 96
    assert work.memory_cycles == work.bytes / 64 == 1545
    assert work.cycles == work.compute_cycles == 6 * 256 + 256
    alone = Dense().attend(heads_of(kv_heads=2, rows=1, keys=256, dim=64, generation=True)).work
    assert alone.cycles == alone.memory_cycles == (2 * 2 * 256 * 96 + 2 * 96) / 64 > alone.compute_cycles


def test_a3_base():
    """320 keys of 64, one row each of two heads: n + 9 a row, and 3 n + 27 until the last output is there."""
    work = A3(name="a3_base").attend(heads_of(kv_heads=2, rows=1, keys=320, dim=64)).work
    assert work.compute_cycles == 329 + (3 * 320 + 27)
    assert work.key_bytes == work.value_bytes == 2 * 320 * 64
    assert work.sort_cycles == work.sorted_bytes == 0


def test_a3_sorts_once_for_all_rows_of_a_head():
    """64 keys of 64: six passes of merging over 4,096 elements, 64 at a time."""
    work = RIVALS["a3_aggressive"].attend(heads_of(rows=1, keys=64, dim=64)).work
    assert work.sort_cycles == work.cycles == 64 * 6
    assert work.cycles_unsorted == max(work.memory_cycles, work.compute_cycles) < work.cycles
    assert work.sorted_bytes == 0


def test_a3_reads_sorted_columns_in_generation():
    """64 keys of 64: an element of 8 bits and a row id of 6; the new key's elements are written as well."""
    work = RIVALS["a3_aggressive"].attend(heads_of(rows=1, keys=64, dim=64, generation=True)).work
    assert work.sort_cycles == 0
    assert work.sorted_bytes == 65 * 64 * 14 / 8
    assert work.cycles == (work.sorted_bytes + 2 * 64 * 64 + 64) / 64
    assert work.cycles_unsorted == max((2 * 64 * 64 + 64) / 64, work.compute_cycles)


def test_a3_rows_take_their_slowest_stage():
    heads = heads_of(rows=2, keys=40, dim=64, spread=2.0)
    system = RIVALS["a3_conservative"]
    found, done = system._search(heads, Integers.of(heads, 8)), system.attend(heads)
    candidates, kept = found.candidates.sum(-1).flatten().tolist(), done.keep.sum(-1).flatten().tolist()
    slowest = [max(20, c, k) for c, k in zip(candidates, kept, strict=True)]
    assert done.work.compute_cycles == slowest[0] + 20 + candidates[1] + 2 * kept[1] + 27
    assert done.work.search_steps == int(found.steps.sum())


def test_steps_wait_for_each_other():
    """Generation of two tokens costs what each of them costs alone."""
    both = heads_of(kv_heads=2, steps=2, rows=3, keys=33, dim=64, generation=True)
    total = Work()
    for step in range(2):
        length = int(both.lengths[step])
        alone = heads_of(kv_heads=2, rows=3, keys=length, dim=64, generation=True)
        total.add(Dense().attend(alone).work)
    assert Dense().attend(both).work == total


def test_mnnfast_streams_one_key_after_the_other():
    """No stage waits for a row's sum: 10 rows of 64 keys of 32 take 32 cycles each."""
    work = MNNFast().attend(heads_of(rows=10, keys=64, dim=32)).work
    assert work.compute_cycles == 320
    assert work.scored == work.attended == 640 >= work.kept
