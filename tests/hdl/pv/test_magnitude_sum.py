import random

import pytest

from hdl.pv.magnitude_sum import MagnitudeSum
from tests.bench.cycles import run_cycles
from tests.hdl.pv.test_normalizer import CONFIGS


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.5])
def test_sums_beside_the_values(name, stall):
    """Each beat ``latency`` cycles later; the largest magnitudes do not wrap; a reset drops what is inside."""
    config = CONFIGS[name]
    dut, low, high = MagnitudeSum(config), -(1 << config.out_width - 1), (1 << config.out_width - 1) - 1

    async def bench(block):
        rng = random.Random(f"{name} {stall}")
        for _ in range(2):
            sent = [None] * dut.latency
            for number in range(40):
                values = [rng.choice([low, high, 0, rng.randint(low, high)]) for _ in range(config.norm_lanes)]
                values = [low] * config.norm_lanes if number == 3 else values
                valid = rng.random() >= stall
                block.set(valid=valid, values=values)
                sent.append(values if valid else None)
                now = sent[-1 - dut.latency]
                assert block.get("o_valid") == (now is not None)
                if now is not None:
                    assert block.get("o_values") == now
                    assert block.get("total") == sum(map(abs, now))
                assert block.get("busy") == any(beat is not None for beat in sent[-1 - dut.latency : -1])
                await block.tick()
            block.set(valid=0)
            await block.reset()
            assert not block.get("busy")

    run_cycles(dut, bench)
