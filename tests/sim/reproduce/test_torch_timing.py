import pytest
import torch

from sim.common.devices import devices
from sim.reproduce.torch_timing import KERNELS, _matmul, time_generation, time_summarization


def test_kernels_compute_the_same():
    query, key, value = torch.randn(3, 1, 2, 5, 16, generator=torch.Generator().manual_seed(0))
    expected = KERNELS["scaled_dot_product_attention"](query, key, value)
    assert torch.allclose(_matmul(query, key, value), expected, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_timings_are_medians(kernel):
    few = {"layers": 1, "heads": 2, "dim": 16, "runs": 3}
    for found in (
        time_summarization("cpu", kernel, tokens=8, **few),
        time_generation("cpu", kernel, prompt=6, steps=2, **few),
    ):
        assert 0 < found.least <= found.seconds <= found.most and found.runs == 3
        assert f"{kernel}, " in found.source and "median of 3 runs" in found.source
    with pytest.raises(ValueError, match="runs must be at least 1, not 0"):
        time_summarization("cpu", kernel, tokens=8, runs=0)


def test_devices_begin_with_the_cpu():
    assert devices()[0] == "cpu"
