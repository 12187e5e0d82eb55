import pytest

from sim.reproduce import timing
from sim.reproduce.cases import synthetic_rows
from sim.reproduce.entries import BERT_TOKENS
from sim.reproduce.lab import Lab
from sim.reproduce.torch_timing import Timing


@pytest.fixture(scope="module")
def rows():
    return synthetic_rows(steps=1)


@pytest.fixture(scope="module")
def lab(rows):
    lab = Lab(rows=rows, workload="one token", runs=1, progress=lambda text: None)
    lab._timings["gpt2", 0] = [timed("matmul", 2e-3)]
    for tokens in BERT_TOKENS:
        lab._timings["bert", tokens] = [timed("matmul", 5e-3)]
    return lab


@pytest.fixture(autouse=True)
def one_token(rows, monkeypatch):
    monkeypatch.setattr(timing, "synthetic_rows", lambda: rows)


def timed(kernel, seconds):
    return Timing(device="cpu", kernel=kernel, seconds=seconds, least=seconds, most=seconds, runs=1, threads=1)
