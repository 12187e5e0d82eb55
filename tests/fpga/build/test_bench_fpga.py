from pathlib import Path
from types import SimpleNamespace

import pytest

from fpga.build import bench_fpga as bench
from fpga.build.bitstream import BuildError, BuildReport
from fpga.build.synth import LIMITS
from golden.layers.job import run_job
from hdl.spec.config import PRESETS

TINY = PRESETS["tiny"]
USED = {"LUT": 60_000, "FF": 50_000, "DSP": 100, "BRAM": 120}


class GoldenEngine:
    """In 2,000 cycles."""

    def __init__(self, name, config, timing):
        self.config, self.wrong = config, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, jobs):
        results = [run_job(job, self.config) for job in jobs]
        return SimpleNamespace(results=results, counters={"cycles": 2000})


class WrongEngine(GoldenEngine):
    def run(self, jobs):
        run = super().run(jobs)
        run.results[1].out[0, 0] += 1
        return run


def figures_of(arguments):
    if "minilm" in arguments:
        return {"tokens": 10, "cycles": 4000}, "a command"
    layers = [{"cycles": 5000}, {"cycles": 3000}]
    return {"tokens": 40, "layers": layers, "generation_layers": [{"cycles": 1500}, {"cycles": 1500}]}, "a command"


@pytest.fixture
def fakes(monkeypatch):
    by_seed = {1: {"clk": 80.0}, 2: {"clk": 100.0}, 3: {"clk": 95.0}}
    clocks = {"clk": {"achieved_mhz": 100.0, "target_mhz": 90.0, "met": True}}
    report = BuildReport(
        bitstream=Path("a.bit"),
        usage=USED,
        limits=LIMITS,
        timing={"seed": 2, "achieved_mhz_by_seed": by_seed, "clocks": clocks, "critical_paths": {}},
        seconds={},
    )
    monkeypatch.setattr(bench, "BOARD_PRESETS", ("tiny",))
    monkeypatch.setattr(bench, "build_bitstream", lambda *_, **__: report)
    monkeypatch.setattr(bench, "make_engine", GoldenEngine)
    monkeypatch.setattr(bench, "json_of", figures_of)
    monkeypatch.setattr(bench, "measure", lambda name, config: {"fmax_mhz": 123.0})
    monkeypatch.setattr(bench, "dense_heads", lambda config, dim: dense_heads(config, heads=2, tokens=8, dim=16))


dense_heads = bench.dense_heads


def test_records(fakes):
    """Rates are at the median clock, 95 MHz."""
    records = {record.name: record for record in bench.bench_fpga()}
    values = {name: record.value for name, record in records.items()}
    assert values["small.fmax_mhz"] == 95.0
    assert values["tiny.fmax_mhz"] == 95.0 and records["tiny.fmax_mhz"].met is None
    assert (values["tiny.lut"], values["tiny.dsp"], values["tiny.bram"]) == (60_000, 100, 120)
    operations = 2 * 2 * (2 * 8 * 8 * 16)  # Q×K and prob×V, a product and a sum
    assert values["tiny.gops"] == pytest.approx(operations / 2000 * 0.095)
    assert values["tiny.gops_per_dsp"] == pytest.approx(values["tiny.gops"] / 100)
    assert values["tiny.minilm.tokens_per_s"] == pytest.approx(10 / 4000 * 95e6)
    assert values["tiny.smollm2.prompt_tokens_per_s"] == pytest.approx(40 / 8000 * 95e6)
    assert values["tiny.smollm2.tokens_per_s.sdram"] == pytest.approx(15 / 3000 * 95e6)
    assert [values[f"tiny.seed{seed}.fmax_mhz"] for seed in (1, 2, 3)] == [80, 100, 95]
    assert values["tiny.operations_per_cycle"] == operations / 2000
    assert (values["tiny.minilm.cycles"], values["tiny.smollm2.prompt_cycles.sdram"]) == (4000, 8000)
    assert values["tiny.smollm2.generation_cycles"] == 3000
    assert values["block.topk.fmax_mhz"] == 123.0 and sum(name.startswith("block.") for name in values) == 27


def test_wrong_outputs_are_no_figures(fakes, monkeypatch):
    monkeypatch.setattr(bench, "make_engine", WrongEngine)
    with pytest.raises(RuntimeError, match="outputs of head 1 differ from golden"):
        list(bench.bench_fpga())


def test_what_does_not_route(fakes, monkeypatch):
    def fail(*_, **__):
        error = BuildError("place and route took more than 3600 seconds")
        error.usage = USED
        raise error

    monkeypatch.setattr(bench, "build_bitstream", fail)
    monkeypatch.setattr(bench, "BOARD_PRESETS", ("ulx3s",))
    records = {record.name: record for record in bench.bench_fpga()}
    assert records["ulx3s.fmax_mhz"].value == 0 and records["ulx3s.fmax_mhz"].met is False
    assert records["ulx3s.dsp"].value == 100 and "ulx3s.gops" not in records
