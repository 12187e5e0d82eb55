import random

import pytest

from hdl.fetch.kv_buffer import KVBuffer
from hdl.qk.multiplier_array import MultiplierArray
from tests.bench.cycles import run_cycles
from tests.hdl.qk.test_qk_multiply import CONFIGS, EIGHT


def sliced(config, query, number):
    """Slice of a query; a lane may be wider than the longest row."""
    part = query[number * config.lane_width : (number + 1) * config.lane_width]
    return part + [0] * (config.lane_width - len(part))


def slice_of_lane(config, rng, lane):
    """A slice that the lane works on in some beat of a served dimension."""
    slices = config.slices(rng.choice(config.dims))
    return lane % slices + (config.lanes * rng.randrange(slices // config.lanes) if slices > config.lanes else 0)


@pytest.mark.parametrize("config", [*CONFIGS.values(), EIGHT], ids=[*CONFIGS, "eight"])
def test_products_of_rows_a_and_b(config):
    """Every cycle another key and another choice of row, slice and bits in each lane, while queries shift."""

    async def bench(block):
        rng, limit = random.Random(config.lanes), 1 << config.operand_width - 1
        number = lambda: rng.choice([-limit, limit - 1, rng.randrange(-limit, limit)])  # noqa: E731
        newest = following = current = None  # as the controls of this cycle see them
        keys, wanted = [], [None] * MultiplierArray.LATENCY
        for cycle in range(60):
            shift_next, shift_current = rng.random() < 0.2, rng.random() < 0.2
            query = [number() for _ in range(config.max_dim)]
            take = shift_next and rng.random() < 0.8
            block.set(take=take, elements=query, shift_next=shift_next, shift_current=shift_current)
            newest = query if take else newest
            lanes = [
                {"row_b": rng.randrange(2), "low": rng.randrange(2), "slice": slice_of_lane(config, rng, lane)}
                for lane in range(config.lanes)
            ]
            block.set(lanes=lanes)
            # Shifts of this cycle are seen by the lanes of the next one.
            keys.append([[number() for _ in range(config.lane_width)] for _ in range(config.lanes)])
            row = [following if lane["row_b"] else current for lane in lanes]
            wanted.append(
                [
                    None
                    if query is None
                    else [
                        q * (k if lane["low"] else k & ~15)
                        for q, k in zip(sliced(config, query, lane["slice"]), key, strict=True)
                    ]
                    for lane, query, key in zip(lanes, row, keys[-1], strict=True)
                ]
            )
            if cycle >= KVBuffer.READ_LATENCY:
                block.set(key=keys[cycle - KVBuffer.READ_LATENCY])
            expected = wanted[cycle]
            if expected is not None:
                for got, products in zip(block.get("products"), expected, strict=True):
                    assert products is None or got == products
            following, current = (newest if shift_next else following), (following if shift_current else current)
            await block.tick()
        assert any(products is not None for lanes in wanted[-9:] for products in lanes)

    run_cycles(MultiplierArray(config), bench)
