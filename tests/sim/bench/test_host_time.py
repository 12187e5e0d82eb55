from types import SimpleNamespace

import pytest
import torch

from golden.host.algorithm import Algorithm
from golden.layers.run_layer import run_layer
from hdl.spec.config import PRESETS
from sim.bench import host_time
from sim.bench.host_time import bench_host_time
from sim.common.stopwatch import Stopwatch
from tests.bench.tiny_models import tiny_causal

TINY = PRESETS["tiny"]


class Clock:
    """Time goes on by 1 with each look at it."""

    def __init__(self):
        self.now = 0.0

    def process_time(self):
        self.now += 1.0
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(host_time, "time", clock)
    return clock


class Engine:
    """An engine and an accelerator on it: golden. Of 40 seconds 4 + 30 are not the host's."""

    clock, memory, runs = None, "ideal", 0

    def __init__(self, config):
        self.simulating, self.checking = Stopwatch(), Stopwatch()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def execute(self, layer, config):
        self.clock.now += 40
        self.simulating.seconds += 30
        self.checking.seconds += 4
        Engine.runs += 1
        return run_layer(layer, config)


@pytest.fixture
def small(monkeypatch, clock):
    monkeypatch.setattr(Engine, "clock", clock)
    monkeypatch.setattr(Engine, "runs", 0)
    monkeypatch.setattr(host_time, "AxiEngine", Engine)
    monkeypatch.setattr(host_time, "Accelerator", lambda engine, config, compare: engine)
    monkeypatch.setattr(host_time, "load_model", lambda name: tiny_causal())
    monkeypatch.setattr(host_time, "algorithm_of", lambda name, settings, config: Algorithm())
    monkeypatch.setattr(host_time, "PRESET", "tiny")
    monkeypatch.setattr(host_time, "TOKENS", 20)


def test_only_the_host_counts(small):
    """Of the model's three layers in the last steps; the prompt and the step after it are others."""
    record = bench_host_time()
    assert (record.name, record.unit, record.goal) == ("axi.host_ms_per_layer_token", "ms", 2.0)
    assert record.value == 1e3 * (40 - 30 - 4 + 1) and record.met is False
    assert Engine.runs == 3 * (host_time.STEPS + 1)


def test_tokens_that_are_measured(small, monkeypatch):
    """The last of them has as many tokens before it, itself among them, as the bench says."""
    seen = []
    execute = Engine.execute

    def noted(self, layer, config):
        seen.append(layer.num_keys)
        return execute(self, layer, config)

    monkeypatch.setattr(Engine, "execute", noted)
    bench_host_time()
    assert seen == [keys for keys in range(17, 21) for _ in range(3)] and seen[-1] == host_time.TOKENS


def test_one_thread(small, monkeypatch):
    threads = []
    monkeypatch.setattr(Engine, "__enter__", lambda self: threads.append(torch.get_num_threads()) or self)
    bench_host_time()
    assert threads == [1]


def test_a_model_that_generates_nothing(small, monkeypatch):
    monkeypatch.setattr(host_time, "load_model", lambda name: SimpleNamespace())
    with pytest.raises(AssertionError):
        bench_host_time()
