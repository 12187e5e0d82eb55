import random

import pytest
import torch

from golden.datapath import integer
from hdl.softmax.reciprocal import Reciprocal
from hdl.spec.config import PRESETS, Config
from tests.hdl.softmax.test_exponential import run_pipeline

SMALL = Config(max_tokens=24, num_multipliers=8, lanes=2, buffer_dim=16, max_dim=16, dims=(16,), norm_lanes=1)
LARGE = Config(max_tokens=4096, key_rows=4096, value_rows=4096, line_queue=1024)


@pytest.mark.parametrize("config", [SMALL, PRESETS["tiny"], PRESETS["paper"], LARGE], ids=["24", "64", "1024", "4096"])
@pytest.mark.parametrize("stall", [0, 0.3])
def test_reciprocal(config, stall):
    rng = random.Random(1)
    top = 65536 * config.max_tokens
    items = [65536, 65537, 65536 + 63, 65536 + 64, top, top - 1]
    items += [min((65536 << bit) + d, top) for bit in range(1, config.sum_width - 16) for d in (-1, 0, 1)]
    items += [rng.randint(65536, max(65536, top >> rng.randrange(config.sum_width - 16))) for _ in range(600)]
    got = run_pipeline(Reciprocal(config), [{"exp_sum": item} for item in items], ["recip", "pe"], stall=stall)
    recip, pe = integer.reciprocal(torch.tensor(items))
    assert [tuple(item) for item in got] == list(zip(recip.tolist(), pe.tolist(), strict=True))
