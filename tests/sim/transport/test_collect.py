"""Results out of the items of good hardware, and what is told of items that no good hardware gives."""

import random

import numpy as np
import pytest
import torch

from golden.layers.cascade_state import CascadeState
from golden.layers.job import run_job
from golden.layers.layer_job import layer_jobs
from hdl.spec.config import PRESETS
from hdl.spec.payloads import job_output, job_probs, survivor
from sim.common.packing import pack
from sim.transport.collect import ResultError, collect, collect_selections
from sim.transport.words import to_words
from tests.bench.jobs import random_job
from tests.bench.layers import layer_of

TINY = PRESETS["tiny"]


def words_of(layout, items):
    return np.stack([to_words(pack(layout, item), layout.size) for item in items])


def streams(job, config, job_id=0):
    """Items of the out and prob streams of a job, as good hardware may give them."""
    result = run_job(job, config)
    outs, lines = [], []
    order = list(range(job.rows))
    random.Random(0).shuffle(order)
    for query in order:
        values = result.out[query].tolist()
        for start in range(0, job.dim, config.norm_lanes):
            outs.append({
                "job_id": job_id, "head": job.head, "query": query, "last": int(start + config.norm_lanes >= job.dim),
                "second": int(result.flat[query]), "abs_sum": int(result.abs_sum[query]),
                "values": (values[start : start + config.norm_lanes] + [0] * config.norm_lanes)[: config.norm_lanes],
            })  # fmt: skip
        length = int(job.mask()[query].sum())
        for start in range(0, length, config.lanes):
            probs = result.probs[query, start : min(start + config.lanes, length)].tolist()
            lines.append({
                "job_id": job_id, "head": job.head, "start": start, "a_count": len(probs), "b_count": 0,
                "a_query": query, "b_query": 0,
                "a_drop": 0, "b_drop": 0, "probs": (probs + [9] * config.lanes)[: config.lanes],
            })  # fmt: skip
    return outs, lines


def collected(job, outs, lines, config=TINY, codes=(0,)):
    return collect(
        [job], [(0, job.head)], codes, words_of(job_output(config), outs), words_of(job_probs(config), lines), config
    )


@pytest.mark.parametrize("kind", ["summarization", "causal", "generation"])
def test_collect(kind):
    job = random_job(
        TINY, random.Random(2), kind=kind, queries=3, keys=7, dim=48, group=1 if kind == "generation" else 2
    )
    outs, lines = streams(job, TINY)
    lines.append(dict(lines[0], a_drop=1))
    (result,) = collected(job, outs, lines)
    want = run_job(job, TINY)
    for field in ("out", "abs_sum", "flat", "probs"):
        assert (getattr(result, field) == getattr(want, field)).all(), field


def test_collect_tells_wrong_items():
    job = random_job(TINY, random.Random(3), kind="summarization", queries=3, keys=7, dim=48, listed=False, group=1)
    outs, lines = streams(job, TINY)
    padded = [dict(out) for out in outs]
    last = next(out for out in padded if out["last"])
    beats = len(outs) // 3
    doubled = outs[:beats] * 2 + outs[2 * beats :]
    cases = [
        (outs[1:], lines, "job 0: 35 output beats, expected 36"),
        (outs[1:] + outs[:1], lines, "output rows are not runs of 12 beats"),
        (doubled, lines, "is missing, others came twice"),
        (outs, lines[1:], "0 probabilities, expected 1"),
        (outs, [*lines, lines[0]], "2 probabilities, expected 1"),
        (outs, [dict(lines[0], start=70), *lines], "key 71, which the job has not"),
        (outs, [dict(lines[0], job_id=4), *lines], "probability items came with job id 4, a job that is unknown"),
    ]
    for bad_outs, bad_lines, message in cases:
        with pytest.raises(ResultError, match=message):
            collected(job, bad_outs, bad_lines)
    with pytest.raises(ResultError, match="output items came with job id 0, a job that is unknown or refused"):
        collected(job, outs, lines, codes=(2,))
    last["last"] = 0
    with pytest.raises(ResultError, match="the last one marked"):
        collected(job, padded, lines)


def selection_items():
    """A layer with its selection, and the items that tell it."""
    (layer,) = layer_jobs(layer_of(tokens=6, ids=[[1, 2, 4, 5]], token_keep=2, head_keep=1), 0, TINY)
    _, selection = CascadeState().run(layer, TINY)
    rows = [(0, *row) for row in zip(selection.head_ids, selection.head_importance, selection.head_keep, strict=True)]
    rows += [(1, *row) for row in zip(selection.ids, selection.importance, selection.keep, strict=True)]
    items = [
        {"job_id": 0, "token": token, "id": int(name), "importance": int(value), "keep": int(keep), "last": 0}
        for token, name, value, keep in rows
    ]
    items[-1]["last"] = 1
    return layer, selection, items


def selections(layers, codes, items):
    return collect_selections(layers, codes, words_of(survivor(TINY), items), TINY)


def test_selections():
    layer, want, items = selection_items()
    (got,) = selections([layer], [0], items)
    assert got.head_ids == want.head_ids
    for field in ("ids", "importance", "keep", "head_importance", "head_keep"):
        assert torch.equal(getattr(got, field), getattr(want, field)), field


def test_wrong_survivors_are_told():
    layer, _, items = selection_items()
    unmarked = [*items[:-1], dict(items[-1], last=0)]
    twice = [dict(items[0], last=1), *items[1:]]
    for wrong in (items[1:], [*items[:-1], items[0]], items[::-1], unmarked, twice):
        with pytest.raises(ResultError, match=r"layer 0: \d survivor items, expected 2 heads and 4 tokens"):
            selections([layer], [0], wrong)
    with pytest.raises(ResultError, match="layer 0 has 6 survivors, but no selection was to be made"):
        selections([layer], [3], items)
