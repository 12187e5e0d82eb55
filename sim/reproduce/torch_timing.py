"""The same attention in PyTorch on this machine's CPU, and on its GPU if there is one: median of repeated runs."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from sim.common.devices import device_name, wait

__all__ = ["KERNELS", "Timing", "time_generation", "time_summarization"]

_WARM_UP = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of a run of all layers and, in generation, all tokens; fp32, batch 1."""

    device: str
    """cpu or cuda"""
    kernel: str
    seconds: float
    """median"""
    least: float
    most: float
    runs: int
    threads: int
    """of PyTorch on the CPU"""

    @property
    def source(self) -> str:
        where = f"{self.threads} threads" if self.device == "cpu" else "1 GPU"
        return (
            f"PyTorch {torch.__version__}, {self.kernel}, {device_name(self.device)}, {where}, fp32, "
            f"median of {self.runs} runs ({1e3 * self.least:.3g} to {1e3 * self.most:.3g} ms)"
        )


def _matmul(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Step by step, with the scores in memory."""
    score = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return score.softmax(-1) @ value


KERNELS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "matmul": _matmul,
}


def time_summarization(
    device: str, kernel: str, *, tokens: int, layers: int = 12, heads: int = 12, dim: int = 64, runs: int = 20
) -> Timing:
    """Every token attends all tokens, in each layer once."""
    attend = KERNELS[kernel]
    planes = [_random(device, 3, 1, heads, tokens, dim) for _ in range(layers)]

    def run() -> None:
        for query, key, value in planes:
            attend(query, key, value)

    return _time(device, kernel, run, runs)


def time_generation(
    device: str,
    kernel: str,
    *,
    prompt: int,
    steps: int,
    layers: int = 12,
    heads: int = 12,
    dim: int = 64,
    runs: int = 20,
) -> Timing:
    """One query a token and layer, against a cache that begins with ``prompt`` tokens and grows by one each step."""
    attend = KERNELS[kernel]
    caches = [_random(device, 2, 1, heads, prompt + steps, dim) for _ in range(layers)]
    queries = _random(device, layers, 1, heads, 1, dim)

    def run() -> None:
        for step in range(1, steps + 1):
            for query, (key, value) in zip(queries, caches, strict=True):
                attend(query, key[..., : prompt + step, :], value[..., : prompt + step, :])

    return _time(device, kernel, run, runs)


def _random(device: str, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)


def _time(device: str, kernel: str, run: Callable[[], None], runs: int) -> Timing:
    if runs < 1:
        raise ValueError(f"runs must be at least 1, not {runs!r}")
    seconds = []
    with torch.inference_mode():
        for _ in range(_WARM_UP):
            run()
        for _ in range(runs):
            wait(device)
            start = time.perf_counter()
            run()
            wait(device)
            seconds.append(time.perf_counter() - start)
    return Timing(
        device=device,
        kernel=kernel,
        seconds=statistics.median(seconds),
        least=min(seconds),
        most=max(seconds),
        runs=runs,
        threads=torch.get_num_threads(),
    )
