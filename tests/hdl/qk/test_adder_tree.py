import random

import pytest

from hdl.qk.adder_tree import AdderTree, adder_tree_latency
from hdl.spec.config import PRESETS, Config
from tests.bench.harness import made, run_streams

EIGHT = Config(
    num_multipliers=16, lanes=8, max_dim=32, dims=(16, 32), max_tokens=16, buffer_dim=16, norm_lanes=4
)  # groups of 8 lanes, two beats at D=32
ONE = Config(num_multipliers=8, lanes=1, max_dim=16, dims=(16,), max_tokens=8, buffer_dim=16, norm_lanes=4)
SINGLE = Config(num_multipliers=1, lanes=1, max_dim=16, dims=(16,), max_tokens=8, buffer_dim=16, norm_lanes=1)
WIDE = Config(num_multipliers=64, lanes=4, max_dim=128, dims=(16, 48, 80), max_tokens=8, buffer_dim=128, norm_lanes=4)
CONFIGS = {"tiny": PRESETS["tiny"], "eight": EIGHT, "one": ONE, "single": SINGLE, "wide": WIDE}


def expected(config, item):
    group = min(config.lanes, 1 << item["log_slices"])
    totals = [sum(lane) for lane in item["products"]]
    return [sum(totals[j : j + group]) for j in range(0, config.lanes, group)]


def make_items(config, count, seed=0):
    rng = random.Random(seed)
    limit = 1 << (2 * config.operand_width - 1)
    corners = [-limit, limit - 1, 0, -1, 1]
    items = []
    for index in range(count):
        if index < len(corners):
            products = [[corners[index]] * config.lane_width for _ in range(config.lanes)]
        else:
            products = [[rng.randrange(-limit, limit) for _ in range(config.lane_width)] for _ in range(config.lanes)]
        items.append({"products": products, "log_slices": config.log_slices(rng.choice(config.dims))})
    return items


def check(config, items, **options):
    result, last = run_streams(made(AdderTree, config), {"i": items}, {"o": len(items)}, **options)
    for item, output in zip(items, result["o"], strict=True):
        sums = expected(config, item)
        assert output["sums"] == sums * (config.lanes // len(sums))
    return last


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_sums(config, stall):
    check(config, make_items(config, 40), stall=stall)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_one_line_a_cycle(config):
    assert check(config, make_items(config, 50, seed=1), stall=0) <= 50 + adder_tree_latency(config)


def test_groups_change_from_line_to_line():
    items = make_items(EIGHT, 20)
    for index, item in enumerate(items):
        item["log_slices"] = (3, 4)[index % 2]
    check(EIGHT, items, stall=0.3)


@pytest.mark.parametrize("name, latency", [("tiny", 3), ("ulx3s", 6), ("eighth", 3), ("paper", 4)])
def test_two_levels_a_stage(name, latency):
    assert adder_tree_latency(PRESETS[name]) == latency
