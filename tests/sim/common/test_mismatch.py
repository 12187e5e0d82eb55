import random

import pytest

from golden.layers.job import JobOutputs, run_job
from hdl.spec.config import PRESETS
from sim.common.mismatch import Report, compare
from tests.bench.jobs import random_job

TINY = PRESETS["tiny"]


@pytest.fixture
def case():
    rng = random.Random(5)
    jobs = [random_job(TINY, rng, kind=kind, queries=3, keys=6, dim=16) for kind in ("summarization", "causal")]
    jobs[1].name = "layer 3 head 7"
    return jobs, [run_job(job, TINY) for job in jobs], [run_job(job, TINY) for job in jobs]


def test_equal(case):
    jobs, got, expected = case
    report = compare(jobs, got, expected)
    # score, exp, keep and probs: 18 values each; exp_sum, flat and abs_sum: 3; out: 48.
    assert report.equal and report.compared == 2 * (4 * 18 + 3 * 3 + 48)
    assert str(report) == "258 values compared, all equal"


def test_first_stage_of_the_datapath_is_named(case):
    jobs, got, expected = case
    got[1].out[2, 5] += 1
    got[1].out[2, 6] += 1
    got[1].probs[1, 3] += 7
    report = compare(jobs, got, expected)
    assert not report.equal and report.mismatches == 3 and report.by_stage == {"probs": 1, "out": 2}
    want = int(expected[1].probs[1, 3])
    assert str(report) == (
        "3 of 258 values differ (probs 1, out 2); "
        f"first: probs of layer 3 head 7, query 1, key 3: got {want + 7}, expected {want}"
    )
    got[0].abs_sum[1] = -1
    report = compare(jobs, got, expected)
    assert report.first.job == 0 and report.first.index is None
    assert str(report.first).startswith("abs_sum of job 0, query 1: got -1, expected ")


def test_what_one_side_does_not_have_is_left_out(case):
    jobs, got, expected = case
    for result in got:
        result.score = result.exp = result.exp_sum = result.keep = None
    assert compare(jobs, got, expected).compared == 2 * (18 + 3 + 3 + 48)
    assert compare(jobs[:1], [None], [None]) == Report()
    assert not Report().equal and str(Report()) == "no values compared"
    with pytest.raises(ValueError, match="layer 3 head 7 has a result on one side only"):
        compare(jobs, [got[0], None], expected)
    got[0].out = got[0].out[:2]
    with pytest.raises(ValueError, match=r"out of job 0 must have shape \(3, 16\), not \(2, 16\)"):
        compare(jobs, got, expected)


def test_keys_that_a_query_does_not_attend_do_not_count(case):
    jobs, got, expected = case
    got[1].score[0, 5] += 1
    assert compare(jobs, got, expected).equal


def test_what_an_engine_hides_is_not_counted(case):
    """Outputs alone: they are compared, and the rest that simulators show is named."""
    jobs, got, expected = case
    outputs = [JobOutputs(out=got[0].out), got[1]]
    report = compare(jobs, outputs, expected)
    assert report.equal and report.compared == 48 + 4 * 18 + 3 * 3 + 48
    assert report.hidden == {"flat", "probs", "abs_sum"}
    outputs[0].out[1, 2] += 1
    report.merge(compare(jobs[:1], outputs[:1], expected[:1]))
    assert report.by_stage == {"out": 1} and report.hidden == {"flat", "probs", "abs_sum"}
    assert compare(jobs[1:], got[1:], expected[1:]).hidden == set()
