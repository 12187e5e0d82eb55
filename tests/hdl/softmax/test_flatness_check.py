import random

import pytest
import torch

from golden.datapath import integer
from hdl.softmax.flatness_check import FlatnessCheck
from hdl.spec.config import PRESETS
from tests.hdl.softmax.test_exponential import run_pipeline


@pytest.mark.parametrize("preset", ["tiny", "paper"])
@pytest.mark.parametrize("stall", [0, 0.3])
def test_flatness(preset, stall):
    config, rng = PRESETS[preset], random.Random(1)
    top = (1 << config.sum_width) - 1
    pairs = [(655360, 655360), (655361, 655360), (65536, 65535), (65536, 65536), (top, top), (top, 0), (65536, top)]
    for _ in range(300):
        exp_sum = rng.randint(65536, 65536 * config.max_tokens)
        pairs.append((exp_sum, rng.choice([rng.randint(0, top), exp_sum, exp_sum - 1, exp_sum + 1])))
    items = [{"exp_sum": a, "flat_limit": b, "check": check} for a, b in pairs for check in (0, 1)]
    got = run_pipeline(FlatnessCheck(config), items, ["flat"], stall=stall)
    above = integer.is_flat(torch.tensor([a for a, _ in pairs]), torch.tensor([b for _, b in pairs])).tolist()
    expected = [int(flat and check) for flat in above for check in (0, 1)]
    assert [flat for (flat,) in got] == expected
