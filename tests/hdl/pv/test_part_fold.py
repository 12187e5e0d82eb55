import dataclasses
import random

import pytest
import torch

from golden.datapath import chain
from hdl.pv.part_fold import PartFold
from tests.bench.cycles import run_cycles
from tests.hdl.pv.test_normalizer import CONFIGS


def make_beats(config, rng, chains):
    """Beats of rows of chains and of none, with what leaves and how long to wait before: (wait, inputs, output)."""
    beats = []
    top = 1 << config.acc_width - 2

    def put(query, joins, more, before, dim, shifts, wait):
        count = -(-dim // config.norm_lanes)
        state = []
        for beat in range(count):
            accs = [rng.choice((top, -top, 0, -1, rng.randint(-top, top))) for _ in range(config.norm_lanes)]
            fold = {"joins": joins, "more": more, "old_shift": shifts[0], "new_shift": shifts[1]}
            out = accs
            if joins or more:
                old = before[beat] if joins else [0] * config.norm_lanes
                new_shift = shifts[1] if joins else 0
                pairs = zip(old, accs, strict=True)
                state.append([(was >> shifts[0]) + ((acc << 8) >> new_shift) for was, acc in pairs])
                out = None if more else [value >> 7 for value in state[-1]]
            tag = {"context": 0, "query": query, "group": 0, "second": 0}
            facts = {"tag": tag, "recip": 0, "pe": 0, "log_slices": 0, "dim": dim, "fold": fold}
            beats.append((wait if not beat else 0, {"facts": facts, "accs": accs, "last": beat == count - 1}, out))
        return state

    for _ in range(chains):
        dim, rows, jobs = rng.choice(config.dims), rng.randint(1, 3), rng.randint(2, 4)
        states = [None] * rows
        apart = max(0, PartFold.DISTANCE - -(-dim // config.norm_lanes))
        for job in range(jobs):
            for query in range(rows):
                shifts = (rng.choice((0, 1, 63, rng.randint(0, 63))), rng.choice((0, 2, rng.randint(0, 63))))
                states[query] = put(query, int(job > 0), int(job < jobs - 1), states[query], dim, shifts, apart)
            if rng.random() < 0.5:
                put(rng.randrange(config.max_tokens), 0, 0, None, rng.choice(config.dims), (5, 6), apart)
    return beats


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_golden(name):
    """Each beat LATENCY cycles later, rows as near to each other as the block allows."""
    config = dataclasses.replace(CONFIGS[name], chain_rows=8)

    async def bench(block):
        rng = random.Random(name)
        for _ in range(2):
            coming = [None] * PartFold.LATENCY
            for wait, inputs, out in make_beats(config, rng, 12):
                for valid in [False] * wait + [True]:
                    block.set(valid=valid, **inputs)
                    coming.append(out if valid else None)
                    now = coming[-1 - PartFold.LATENCY]
                    assert block.get("o_valid") == (now is not None)
                    assert now is None or block.get("o") == now
                    await block.tick()
            block.set(valid=0)
            await block.reset()
            assert not block.get("busy") and not block.get("o_valid")

    run_cycles(PartFold(config), bench)


def test_the_fold_is_that_of_the_golden_model():
    """The arithmetic of ``make_beats`` on one element is :func:`golden.datapath.chain.fold`."""
    rng = random.Random(3)
    for _ in range(200):
        below, before_below, old, acc = (rng.randint(-70, 70) for _ in range(4))
        highest = min(below, before_below)
        shifts = min(63, before_below - highest), min(63, below - highest)
        one = torch.ones(1, dtype=torch.int64)
        before = chain.ChainSums(
            origin=one, below=one * before_below, exp_sum=one << 24, acc=torch.tensor([[old]], dtype=torch.int64)
        )
        folded = chain.fold(one, one * below, one << 16, torch.tensor([[acc]]), before)
        assert int(folded.acc) == (old >> shifts[0]) + ((acc << 8) >> shifts[1])
