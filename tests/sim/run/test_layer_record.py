import dataclasses

import pytest

from hdl.spec.config import PRESETS
from sim.run.layer_record import LayerRecord, combined

TINY = PRESETS["tiny"]
COUNTERS = {"qk_useful": 64, "query_words": 3}


def record(**changes):
    fields = dict(
        layer=1, step=0, heads=2, heads_kept=2, tokens=8, tokens_kept=6, dim=16, rows=16, flat_rows=4,
        bytes={"query": 5.0, "total": 5.0}, bytes_read_fp32_dense=100.0, macs=10, dense_macs=20, cycles=100,
        limit_cycles=50.0, bytes_read={"query": 8, "total": 8}, values_compared=7, mismatches=1, max_error=0.25,
        relative_error=0.5, prob_error=0.1, out_error=0.2, counters=COUNTERS,
    )  # fmt: skip
    return LayerRecord(**(fields | changes))


def test_counts_are_added_and_errors_are_the_worst():
    later = record(step=2, tokens=9, heads=1, max_error=0.125, out_error=0.3, cycles=300)
    total = combined([record(), later], TINY)
    assert (total.step, total.tokens, total.heads) == (2, 9, 1), "of the last one"
    assert (total.rows, total.flat_rows, total.mismatches, total.cycles, total.macs) == (32, 8, 2, 400, 20)
    assert (total.max_error, total.out_error) == (0.25, 0.3)
    assert total.bytes["query"] == 10 and total.bytes_read == {"query": 16, "total": 16}
    assert total.counters == {"qk_useful": 128, "query_words": 6}
    assert total.qk_utilization == pytest.approx(128 / (400 * TINY.scores_per_line(16)))


def test_what_only_an_engine_counts_is_unknown_unless_all_ran_on_one():
    golden = record(cycles=None, limit_cycles=None, bytes_read=None, prob_error=None, out_error=None, counters={})
    total = combined([record(), golden], TINY)
    for name in ("cycles", "limit_cycles", "bytes_read", "prob_error", "out_error", "qk_utilization"):
        assert getattr(total, name) is None
    assert total.counters == {} and total.rows == 32 and total.bytes["total"] == 10


def test_records_that_are_combined_stay_as_they_are():
    one = record()
    before = dataclasses.asdict(one)
    combined([one, record()], TINY)
    assert dataclasses.asdict(one) == before
