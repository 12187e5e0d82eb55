import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdl.topk.zero_eliminator import ZeroEliminator
from tests.bench.examples import examples
from tests.bench.harness import check_stream_reset, made, run_streams


def compacted(results):
    """Groups without the undefined lanes."""
    return [(group["items"][: group["count"]], group["last"]) for group in results]


def expected(groups):
    return [
        ([item for lane, item in enumerate(group["items"]) if group["keep"] >> lane & 1], group["last"])
        for group in groups
    ]


def random_groups(lanes, count, seed, density=0.5):
    rng = random.Random(seed)
    return [
        {
            "items": [rng.randrange(256) for _ in range(lanes)],
            "keep": sum((rng.random() < density) << lane for lane in range(lanes)),
            "last": rng.random() < 0.2,
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 7, 8, 16])
@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_compacts_in_order(lanes, stall):
    groups = random_groups(lanes, 40, seed=lanes)
    dut = made(ZeroEliminator, 8, lanes=lanes)
    result, _ = run_streams(dut, {"i": groups}, {"o": len(groups)}, stall=stall, seed=lanes)
    assert compacted(result["o"]) == expected(groups)


def test_every_mask_of_four_lanes():
    groups = [{"items": [1, 2, 3, 4], "keep": keep, "last": 0} for keep in range(16)]
    result, _ = run_streams(made(ZeroEliminator, 8, lanes=4), {"i": groups}, {"o": 16}, stall=0)
    assert compacted(result["o"]) == expected(groups)


@examples(6)
@given(keeps=st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=12))
def test_any_mask_of_sixteen_lanes(keeps):
    groups = [{"items": list(range(16)), "keep": keep, "last": 0} for keep in keeps]
    result, _ = run_streams(made(ZeroEliminator, 4, lanes=16), {"i": groups}, {"o": len(groups)}, stall=0)
    assert compacted(result["o"]) == expected(groups)


@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_a_group_a_cycle(lanes):
    dut = made(ZeroEliminator, 8, lanes=lanes)
    _, last = run_streams(dut, {"i": random_groups(lanes, 64, seed=1)}, {"o": 64}, stall=0)
    assert last <= 64 + dut.latency


@pytest.mark.parametrize("lanes", [0, -1, "4"])
def test_lanes_must_be_positive(lanes):
    with pytest.raises(ValueError, match=f"lanes must be a positive integer, not {lanes!r}"):
        ZeroEliminator(8, lanes=lanes)


@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_reset_in_mid_stream(lanes):
    groups = random_groups(lanes, 30, seed=3)
    check_stream_reset(lambda: ZeroEliminator(8, lanes=lanes), {"i": groups}, {"o": len(groups)})
