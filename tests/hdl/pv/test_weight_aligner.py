import random

import pytest

from hdl.pv.weight_aligner import WeightAligner
from tests.bench.cycles import run_cycles
from tests.hdl.pv.test_prob_times_v import CONFIGS


def make_joined(config, rng):
    """A line of any counts at any window; fields that do not matter are 0."""
    dim = rng.choice(config.dims)
    slices, per_line = config.slices(dim), config.scores_per_line(dim)
    a = rng.randint(1, per_line)
    line = {"start": 0, "a_count": a, "b_count": rng.randint(0, per_line - a), "a_last": 1}
    line["exps"] = [rng.randint(0, 65536) for _ in range(config.lanes)]
    tag = {"context": 0, "query": 0, "group": 0, "second": 0}
    row = {"tag": tag, "recip": 0, "pe": 0, "drop": 0, "log_slices": config.log_slices(dim), "dim": dim}
    first = rng.randrange(config.value_slots // slices) * slices
    return {"line": line, "row": {**row, "slot": 0, "seq": 0}, "end": 0, "first": first, "finish": 0}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.4])
def test_weights_by_bank(name, stall):
    """Masks at once, weights a cycle later, and held while nothing is offered."""
    config = CONFIGS[name]

    async def bench(block):
        rng, weights = random.Random(f"{name} {stall}"), None
        for _ in range(80):
            joined, offered = make_joined(config, rng), rng.random() >= stall
            block.set(offered=offered, joined=joined)
            line, slices = joined["line"], 1 << joined["row"]["log_slices"]
            keys = [(bank - joined["first"]) % config.lanes // slices for bank in range(config.lanes)]
            used = line["a_count"] + line["b_count"]
            assert block.get("mask_a") == sum((key < line["a_count"]) << bank for bank, key in enumerate(keys))
            assert block.get("mask_b") == sum((line["a_count"] <= key < used) << b for b, key in enumerate(keys))
            assert weights is None or block.get("weights") == weights
            weights = [line["exps"][key] for key in keys] if offered else weights
            await block.tick()

    run_cycles(WeightAligner(config), bench)
