"""Names of the records, and the figures that need no compiled model of the preset paper."""

from types import SimpleNamespace

import pytest

from golden.datapath.topk import bench_rows, quick_select_cycles
from hdl.spec.config import PRESETS
from sim.bench import core
from sim.bench.core import bench_core


@pytest.fixture
def no_engine(monkeypatch):
    """Every job takes 100 cycles, in half of which Q×K is full."""

    def measure(config, jobs):
        counters = {"cycles": 100 * len(jobs), "qk_useful": 50 * len(jobs) * config.scores_per_line(64)}
        return SimpleNamespace(counters=counters), [core.run_job(job, config) for job in jobs]

    monkeypatch.setattr(core, "_measure", measure)
    monkeypatch.setattr(core, "_bench_verilator", lambda config: iter(()))


def test_records(no_engine, monkeypatch):
    monkeypatch.setattr(core, "_bench_topk", lambda config: iter(()))
    records = {record.name: record for record in bench_core()}
    utilizations = [f"qk_utilization.{name}" for name in ("n128", "n25", "n128_keep30")]
    assert list(records) == [*utilizations, "generation.n1024.fraction_of_limit"]
    assert [records[name].value for name in utilizations] == [0.5] * 3
    assert [records[name].goal for name in utilizations] == [0.9, 0.8, None]
    assert records["generation.n1024.fraction_of_limit"].value > 0


def test_cycles_of_quick_select(monkeypatch):
    monkeypatch.setattr(core, "bench_rows", lambda kind, length, count, seed: bench_rows(kind, 64, 3, seed))
    records = {record.name: record for record in core._bench_topk(PRESETS["paper"])}
    assert len(records) == 5 * 3 * 2 and all(name.startswith("topk.n1024.") for name in records)
    goals = {name for name, record in records.items() if record.goal is not None}
    assert goals == {"topk.n1024.random.half.mean"}
    rows = [quick_select_cycles(row, 102, PRESETS["paper"].topk_parallelism) for row in bench_rows("equal", 64, 3, 1)]
    assert records["topk.n1024.equal.tenth.mean"].value == sum(rows) / 3


def test_outputs_that_differ_are_no_figure(monkeypatch):
    class Engine:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def run(self, jobs):
            return SimpleNamespace(results=[None for _ in jobs])

    monkeypatch.setattr(core, "make_engine", lambda *_, **__: Engine())
    config = PRESETS["tiny"]
    generator = core.torch.Generator().manual_seed(1)
    job = core._job(config, generator, keys=4, queries=2, dim=16, keep=1.0)
    with pytest.raises(RuntimeError, match="outputs of a bench job differ from golden"):
        core._measure(config, [job])
