import dataclasses

import pytest

from hdl.spec.config import PRESETS
from sim.engine import registry as engines
from sim.engine.timing import MemoryTiming
from sim.workload.generation import csv_workload
from sim.workload.run import run_workload
from sim.workload.shape import bert_workload
from tests.bench.workload_rows import GoldenEngine, generation, write

TINY, PAPER = PRESETS["tiny"], PRESETS["paper"]


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "rows.csv", generation())


def test_figures(file):
    work = csv_workload(file, TINY)
    result = run_workload(work, GoldenEngine(TINY))
    assert result.mismatches == 0 and result.first_mismatch is None and result.values_compared > 0
    assert (result.jobs, result.rows, result.flat_rows) == (24, 24, sum(work.flat))
    keys = 4 * (40 + 40 + 40) + 4 * (40 + 30 + 12)
    flat_keys = sum(job.num_keys for job, flat in zip(work.jobs, work.flat, strict=True) if flat)
    values = 4 * (13 + 13 + 13 + 13 + 10 + 4)
    # A key of 32 elements takes both lanes: a score a cycle.
    assert result.qk_limit_cycles == keys + flat_keys == result.utilization["qk"] * 5000
    bits = 32 * (12 * 24 + 6 * keys + 4 * flat_keys + 6 * values)
    assert result.memory_limit_cycles == bits / 128 and result.bytes["quantization"] == bits // 8
    assert result.limit_cycles == max(result.qk_limit_cycles, result.memory_limit_cycles)
    assert result.fraction_of_limit == result.limit_cycles / 5000
    assert result.gflops == 2 * 32 * (keys + values) / 5000
    tokens = 12 * 40 + 12 * 41
    assert result.gflops_dense_equivalent == 2 * 32 * 2 * tokens / 5000
    assert result.bytes["fp32_dense"] == 4 * 32 * (24 + 2 * tokens)
    assert result.bytes["token_pruning"] == 4 * 32 * (24 + 2 * keys)
    assert result.bytes["value_pruning"] == 4 * 32 * (24 + keys + values)
    assert result.bytes["read"] == 40 * 8 == sum(result.bytes_read.values())
    assert result.utilization["arrays"] == 32 * (keys + values) / (5000 * 64)
    assert (result.utilization["topk"], result.utilization["channels"]) == (0.25, 40 / 10000)
    assert result.stalls == {"qk_stall_key": 10} and result.deliverable_cycles is None
    assert result.to_json()["fraction_of_deliverable"] is None


def test_figures_of_a_summarization():
    work = bert_workload(TINY, [6], heads=2, layers=1, dim=16)
    result = run_workload(work, GoldenEngine(TINY))
    assert result.rows == result.rows_checked == 12 and result.qk_limit_cycles == 2 * 36 / 2
    assert result.memory_limit_cycles == 2 * 6 * 16 * 12 * 3 / 128
    assert result.gflops == result.gflops_dense_equivalent == 2 * 2 * 2 * 36 * 16 / 5000
    assert result.utilization["arrays"] == 2 * 2 * 36 * 16 / (5000 * 64)


@pytest.mark.parametrize(("rows", "check", "every"), [(24, 100, 1), (320, 100, 10), (320, 2, 2), (320, 1, 1)])
def test_sample(tmp_path, rows, check, every):
    """At least 32 rows, and the flat ones."""
    flat = {7, 13, rows - 1}
    many = [
        dict(iteration_id=index // 32, head_id=index % 32, key_fetch_num=30, if_requant=index in flat)
        for index in range(rows)
    ]
    work = csv_workload(write(tmp_path / "a.csv", many), TINY)
    result = run_workload(work, GoldenEngine(TINY), check=check)
    assert result.mismatches == 0 and result.rows_checked == len({*range(0, rows, every), *flat})


def test_wrong_output_is_found(file):
    def spoil(results):
        results[0].out[0, 3] += 1

    result = run_workload(csv_workload(file, TINY), GoldenEngine(TINY, spoil=spoil))
    assert (result.mismatches, result.value_mismatches, result.flat_mismatches) == (1, 1, 0)
    assert result.first_mismatch.startswith("out of line 2 (token 0, layer 0, head 0), query 0, element 3: got ")


def test_wrong_flag_of_any_row_is_found(file):
    work = csv_workload(file, TINY)
    index = work.flat.index(False)
    flat = [not value if place == index else value for place, value in enumerate(work.flat)]
    result = run_workload(dataclasses.replace(work, flat=flat), GoldenEngine(TINY))
    assert (result.value_mismatches, result.flat_mismatches, result.mismatches) == (0, 1, 1)
    assert result.first_mismatch.startswith(f"flat of line {index + 2} ")


def test_engine_that_shows_outputs_only(file):
    """All rows are compared, what is not shown is named, and the figures are the same."""
    work = csv_workload(file, TINY)
    result = run_workload(work, GoldenEngine(TINY, outputs_only=True))
    whole = run_workload(work, GoldenEngine(TINY))
    assert result.mismatches == 0 and result.first_mismatch is None
    assert (result.rows_checked, result.values_compared) == (24, 24 * 32)
    assert result.not_shown == ["abs_sum", "flat", "probs"] and whole.not_shown == []
    for name in ("flat_rows", "limit_cycles", "gflops", "bytes", "utilization"):
        assert getattr(result, name) == getattr(whole, name)


def test_wrong_values_of_an_engine_that_shows_outputs_only(file):
    def output(results):
        results[5].out[0, 3] += 1

    def flag(results):
        for result in results[:3]:
            result.flat.logical_not_()

    work = csv_workload(file, TINY)
    result = run_workload(work, GoldenEngine(TINY, spoil=output, outputs_only=True))
    assert (result.value_mismatches, result.flat_mismatches) == (1, 0)
    assert result.first_mismatch.startswith("out of line 7 ")
    result = run_workload(work, GoldenEngine(TINY, spoil=flag, outputs_only=True))
    wrong = sum(-1 if flat else 1 for flat in work.flat[:3])
    assert (result.value_mismatches, result.flat_mismatches) == (0, abs(wrong)) and wrong
    assert result.first_mismatch == f"{sum(work.flat) + wrong} rows are flat, not {sum(work.flat)}"


def test_deliverable_cycles(file):
    engine = GoldenEngine(TINY, record_addresses=True, timing=MemoryTiming(latency=20))
    result = run_workload(csv_workload(file, TINY), engine)
    assert result.deliverable_cycles == 40 and result.fraction_of_deliverable == 40 / 5000
    assert result.wide_window_cycles == 40 and result.fraction_of_wide_window == 40 / 5000
    assert result.fraction_of_peak == result.peak_cycles / 5000 and 0 < result.peak_cycles < 40


def test_on_the_rtl(tmp_path):
    """Eight rows, one of them flat, four in pairs, in the Amaranth simulator."""
    rows = [
        dict(layer_id=layer, head_id=head, key_fetch_num=keys, value_fetch_num=keys // 3, if_requant=flat)
        for layer, keys in enumerate((24, 10))
        for head, flat in enumerate((False, keys == 24, False, False))
    ]
    work = csv_workload(write(tmp_path / "a.csv", rows), TINY)
    assert sum(job.pair > 0 for job in work.jobs) == 4
    with engines.make_engine("pysim", TINY) as engine:
        result = run_workload(work, engine)
    assert result.mismatches == 0 and (result.flat_rows, result.rows_checked) == (1, 8)
    assert result.fraction_of_limit < 1 and result.bytes["read"] == sum(result.bytes_read.values())
