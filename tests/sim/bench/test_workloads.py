"""Names and goals of the records; the runs themselves take hours."""

from types import SimpleNamespace

import pytest
import torch

from hdl.spec.config import PRESETS
from sim.bench import workloads
from sim.bench.workloads import bench_workloads, crossbar_jobs, data_folder
from sim.common.mismatch import Mismatch

PAPER = PRESETS["paper"]
RESULT = SimpleNamespace(
    cycles=200_000,
    rows=100,
    gflops=900.0,
    gflops_dense_equivalent=400.0,
    fraction_of_limit=0.96,
    fraction_of_deliverable=0.85,
    fraction_of_wide_window=0.7,
    fraction_of_peak=0.6,
    cycles_per_second=30_000.0,
    utilization={"arrays": 0.97},
    stalls={"prune_stall_topk": 1000},
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "workloads").mkdir()
    (tmp_path / "workloads" / workloads.PER8).write_text("")
    monkeypatch.setenv("SPATTEN_DATA", str(tmp_path))
    return tmp_path / "workloads"


def test_records(folder, monkeypatch):
    asked = []

    def run(workload, config, errors, memory="ideal"):
        asked.append((workload, config.name, memory))
        errors.append(0.01)
        return RESULT

    monkeypatch.setattr(workloads, "_run", run)
    monkeypatch.setattr(workloads, "csv_workload", lambda path, config: path.name)
    monkeypatch.setattr(workloads, "bert_workload", lambda config, lengths, layers: f"bert {len(lengths)} {layers}")
    monkeypatch.setattr(workloads, "_topk_workload", lambda config: "topk")
    monkeypatch.setattr(workloads, "_fraction_of_peak", lambda config, keep: keep)
    records = {record.name: record for record in bench_workloads()}
    assert list(records) == [
        "per8.cycles",
        "per8.gflops",
        "per8.fraction_of_limit",
        "verilator.paper.cycles_per_second",
        "dense.fraction_of_limit",
        "per8.hbm2.fraction_of_deliverable",
        "per8.hbm2.fraction_of_wide_window",
        "per8.hbm2.fraction_of_peak",
        "per8.hbm2.cycles",
        "dense.hbm2.fraction_of_deliverable",
        "dense.hbm2.fraction_of_wide_window",
        "dense.hbm2.fraction_of_peak",
        "dense.hbm2.cycles",
        "bert.mixed.utilization",
        "bert.L128.utilization",
        "bert.L384.utilization",
        "eighth.effective_gops",
        "topk.exposed_cycles.mean",
        *(f"crossbar.keep{share}.fraction_of_peak" for share in (10, 20, 30, 40, 50, 70, 100)),
        "model.max_error",
    ]
    assert records["per8.cycles"].met and not records["per8.gflops"].met
    assert records["per8.hbm2.cycles"].memory == "hbm2" and records["per8.cycles"].memory == "ideal"
    assert records["eighth.effective_gops"].preset == "eighth" and records["eighth.effective_gops"].value == 400
    assert records["topk.exposed_cycles.mean"].value == 10 and records["model.max_error"].value == 0.01
    assert [name for name, preset, _ in asked if preset == "eighth"] == [workloads.PER8]
    assert asked[2:4] == [(workloads.PER8, "paper", "hbm2"), (workloads.DENSE, "paper", "hbm2")]


def test_a_run_that_differs_from_golden_is_no_figure(monkeypatch):
    first = Mismatch(job=0, head="head 3", stage="out", query=0, index=2, got=1, expected=2)
    wrong = SimpleNamespace(mismatches=2, first_mismatch=str(first))

    class Engine:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(workloads, "make_engine", lambda *_, **__: Engine())
    monkeypatch.setattr(workloads, "run_workload", lambda *_, **__: wrong)
    with pytest.raises(RuntimeError, match=r"^per8: 2 values differ: out of head 3"):
        workloads._run(SimpleNamespace(name="per8", jobs=[]), PAPER, [])


def test_jobs_of_the_fetcher_attend_the_same_random_survivors():
    jobs = crossbar_jobs(PAPER, 0.25, tokens=64, heads=3)
    assert [job.skew for job in jobs] == [0, 1, 2] and {job.num_keys for job in jobs} == {16}
    assert all(torch.equal(job.ids, jobs[0].ids) and job.value_keep == 16 for job in jobs)
    assert crossbar_jobs(PAPER, 1.0, tokens=64, heads=1)[0].ids is None


def test_data_folder(folder, monkeypatch):
    assert data_folder() == folder
    monkeypatch.setenv("SPATTEN_DATA", str(folder))
    with pytest.raises(ValueError, match=r"SPATTEN_DATA must name a folder with workloads/gpt2-small"):
        data_folder()
