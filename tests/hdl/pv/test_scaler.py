import random

import pytest
import torch

from golden.datapath import integer
from hdl.pv.scaler import Scaler
from tests.bench.cycles import run_cycles
from tests.hdl.pv.test_normalizer import CONFIGS


def make_beat(config, rng):
    """Sums that are possible with an exp sum, and the outputs."""
    exp_sum = rng.choice([1 << 16, config.max_tokens << 16, rng.randint(1 << 16, config.max_tokens << 16)])
    recip, pe = (int(x) for x in integer.reciprocal(torch.tensor(exp_sum)))
    low, high = -exp_sum << config.operand_width - 1, exp_sum * ((1 << config.operand_width - 1) - 1)
    accs = [rng.choice([low, high, 0, -1, rng.randint(low, high)]) for _ in range(config.norm_lanes)]
    out = integer.normalize(torch.tensor([accs]), torch.tensor([recip]), torch.tensor([pe]), config.operand_width)
    return {"accs": accs, "recip": recip, "pe": pe}, out[0].tolist()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.5])
def test_equals_golden(name, stall):
    """Each beat LATENCY cycles later, whatever comes between; a reset drops what is inside."""
    config = CONFIGS[name]

    async def bench(block):
        rng = random.Random(f"{name} {stall}")
        for _ in range(2):
            expected = [None] * Scaler.LATENCY
            for _ in range(40):
                beat, out = make_beat(config, rng)
                valid = rng.random() >= stall
                block.set(valid=valid, **beat)
                expected.append(out if valid else None)
                now = expected[-1 - Scaler.LATENCY]
                assert block.get("o_valid") == (now is not None)
                assert now is None or block.get("values") == now
                assert block.get("busy") == any(beat is not None for beat in expected[-1 - Scaler.LATENCY : -1])
                await block.tick()
            block.set(valid=0)
            await block.reset()
            assert not block.get("busy")

    run_cycles(Scaler(config), bench)
