"""StatusMerge: every answer once, each source in order, refusals before layers before jobs."""

import random

import pytest

from hdl.control.status_merge import StatusMerge
from hdl.spec.config import PRESETS
from tests.bench.harness import check_stream_reset, made, run_streams

TINY = PRESETS["tiny"]
SOURCES = ("refused", "layer", "job")


def answers(count, seed):
    """By source; the code tells the source."""
    rng = random.Random(seed)
    return {
        name: [{"job_id": rng.randrange(1 << 16), "code": code} for _ in range(count)]
        for code, name in enumerate(SOURCES)
    }


@pytest.mark.parametrize("stall", [0, 0.3, 0.7])
def test_every_answer_once(stall):
    given = answers(30, 1)
    got, _ = run_streams(made(StatusMerge, TINY), given, {"o": 90}, stall=stall, seed=2, shy=0.3)
    for code, name in enumerate(SOURCES):
        assert [item for item in got["o"] if item["code"] == code] == given[name]


def test_priority_and_rate():
    """All sources always on offer: the first one is served first, an answer every cycle."""
    got, last = run_streams(made(StatusMerge, TINY), answers(20, 3), {"o": 60}, stall=0)
    order = [item["code"] for item in got["o"]]
    assert order == sorted(order), "a later source was served while an earlier one waited"
    assert last < 60 + 6


def test_reset():
    check_stream_reset(lambda: StatusMerge(TINY), answers(10, 4), {"o": 30}, seed=5)
