from types import SimpleNamespace

import pytest
import torch

from golden.layers.cascade_state import CascadeState
from hdl.spec.config import PRESETS
from sim.bench import ip
from sim.bench.ip import bench_ip, generation_layers


@pytest.fixture
def others(monkeypatch):
    """Without the models and the simulation."""
    monkeypatch.setattr(ip, "MODELS", {})
    monkeypatch.setattr(ip, "_bench_layer_gap", lambda config: None)


def test_size_of_the_verilog(monkeypatch, others):
    texts = {"tiny": "x" * 1_500_000, "paper": "é" * 6_000_000}
    monkeypatch.setattr(ip, "to_verilog", lambda config: texts[config.name])
    records = {record.name: record for record in bench_ip() if record}
    assert {name: record.value for name, record in records.items()} == {
        "verilog.tiny_mb": 1.5,
        "verilog.paper_mb": 12.0,
    }
    assert [(record.preset, record.goal, record.met) for record in records.values()] == [
        ("tiny", 2.0, True),
        ("paper", 10.0, False),
    ]


def test_mismatches_of_models(monkeypatch):
    asked = []

    def json_of(arguments):
        asked.append(arguments)
        return {"mismatches": len(asked) - 1, "memory": "ideal"}, "spatten " + arguments[1]

    monkeypatch.setattr(ip, "json_of", json_of)
    first, second = ip._bench_models()
    assert (first.name, first.value, first.met) == ("axi.minilm.mismatches", 0, True)
    assert (second.name, second.value, second.met, second.preset) == ("axi.smollm2.mismatches", 1, False, "ulx3s")
    assert all(arguments[0] == "run" and arguments[-2:] == ["--engine", "axi"] for arguments in asked)


def test_gap_between_layers(monkeypatch):
    """Of the periods of the layers after the first."""
    periods = {"axi": 130, "verilator": 100}

    class Engine:
        def __init__(self, name):
            self.period = periods[name]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def run_layers(self, layers):
            return SimpleNamespace(finished=[7, *(1000 + self.period * index for index in range(len(layers) - 1))])

    monkeypatch.setattr(ip, "make_engine", lambda name, config, timing: Engine(name))
    record = ip._bench_layer_gap(PRESETS["tiny"])
    assert (record.name, record.value, record.unit) == ("axi.layer_gap_cycles", 30, "cycles")


def test_layers_that_are_measured():
    """They follow each other on the same tokens, all of which survive."""
    state = CascadeState()
    for layer in generation_layers():
        results, selection = state.run(layer, PRESETS["tiny"])
        assert len(results) == len(layer.jobs) and (selection is None or bool(selection.keep.all()))
    assert torch.equal(state.ids, torch.arange(ip.KEYS)) and state.importance.sum() > 0
