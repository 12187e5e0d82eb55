from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from golden.layers.cascade_state import CascadeState
from hdl.spec.config import PRESETS
from sim.bench import ip
from sim.bench.ip import bench_ip, generation_layers


@pytest.fixture
def others(monkeypatch):
    """Without the models and the simulations."""
    monkeypatch.setattr(ip, "MODELS", {})
    monkeypatch.setattr(ip, "_bench_per8", lambda: [])
    monkeypatch.setattr(ip, "_bench_litex", lambda: None)
    monkeypatch.setattr(ip, "_bench_layer_gap", lambda config: None)
    monkeypatch.setattr(ip, "_bench_lut", lambda config: None)
    monkeypatch.setattr(ip, "bench_host_time", lambda: None)
    monkeypatch.setattr(ip, "bench_campaign", lambda: [])


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


def test_cost_of_commands_and_bursts(monkeypatch):
    """Cycles of the same workload on both engines; a value that is not golden's is an error."""
    cycles, wrong = {("verilator", 20): 1000, ("axi", 20): 1015, ("verilator", 100): 1200, ("axi", 100): 1250}, []

    class Engine:
        def __init__(self, name, config, timing):
            self.key = name, timing.latency

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    def run_workload(workload, engine):
        return SimpleNamespace(cycles=cycles[engine.key], mismatches=len(wrong), first_mismatch="job 3")

    monkeypatch.setattr(ip, "make_engine", Engine)
    monkeypatch.setattr(ip, "data_folder", lambda: Path())
    monkeypatch.setattr(ip, "csv_workload", lambda path, config: None)
    monkeypatch.setattr(ip, "run_workload", run_workload)
    overhead, fraction = ip._bench_per8()
    assert (overhead.name, overhead.value, overhead.met) == ("axi.per8.overhead", pytest.approx(0.015), False)
    assert (fraction.name, fraction.value, fraction.met) == ("axi.per8.latency100_16x16.fraction", 0.96, True)
    wrong.append(1)
    with pytest.raises(RuntimeError, match="per8 on verilator: 1 values differ: job 3"):
        list(ip._bench_per8())


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


def test_size_of_what_the_core_lacks(monkeypatch):
    used = {"SpAttenAXI": 5_500, "SpAtten": 4_000}

    def json_of(arguments):
        assert arguments[:3] == ["synth", "--preset", "ulx3s"]
        return {"usage": {"LUT": used[arguments[-1]], "FF": 0}}, "spatten synth"

    monkeypatch.setattr(ip, "json_of", json_of)
    record = ip._bench_lut(PRESETS["ulx3s"])
    assert (record.name, record.value, record.unit, record.preset) == ("axi.lut_ulx3s", 1_500, "LUT4", "ulx3s")


def test_mismatches_in_a_soc(monkeypatch, tmp_path):
    script = tmp_path / "simulate.py"
    monkeypatch.setattr(ip, "LITEX", script)
    found = '{"mismatches": 3, "preset": "tiny"}'
    script.write_text(f"import pathlib, sys\npathlib.Path(sys.argv[2]).write_text({found!r})\nsys.exit(1)\n")
    record = ip._bench_litex()
    assert (record.name, record.value, record.met, record.preset) == ("litex.mismatches", 3, False, "tiny")
    script.write_text("raise SystemExit(2)\n")
    with pytest.raises(RuntimeError, match=r"^simulate\.py ended with exit status 2$"):
        ip._bench_litex()


def test_layers_that_are_measured():
    """They follow each other on the same tokens, all of which survive."""
    state = CascadeState()
    for layer in generation_layers():
        results, selection = state.run(layer, PRESETS["tiny"])
        assert len(results) == len(layer.jobs) and (selection is None or bool(selection.keep.all()))
    assert torch.equal(state.ids, torch.arange(ip.KEYS)) and state.importance.sum() > 0
