"""What stays on chip from one layer descriptor to the next."""

import torch

from golden.layers.cascade_state import CascadeState
from golden.layers.job import run_job
from golden.layers.layer_job import layer_jobs
from hdl.spec.config import PRESETS
from tests.bench.layers import layer_of

TINY = PRESETS["tiny"]


def test_survivors_go_on_with_their_importance():
    layer = layer_of(queries=3, tokens=8, token_keep=5)
    state = CascadeState()
    (first,) = layer_jobs(layer, 0, TINY)
    _, selection = state.run(first, TINY)
    assert selection.ids.tolist() == list(range(8)) and int(selection.keep.sum()) == 5
    assert torch.equal(state.ids, selection.ids[selection.keep])
    assert torch.equal(state.importance, selection.importance[selection.keep])
    following = layer_of(queries=1, tokens=8, ids=[state.ids.tolist()], token_keep=2, seed=1)
    (second,) = layer_jobs(following, 0, TINY, resume=True)
    before = state.importance.clone()
    results, selection = state.run(second, TINY)
    probs = sum(run_job(job, TINY).probs.sum(0) for job in second.jobs)
    assert torch.equal(selection.importance, before + probs) and len(state.ids) == 2
    assert [len(result.probs[0]) for result in results] == [5, 5]


def test_importance_of_heads_counts_all_chunks_of_a_layer():
    layer = layer_of(queries=70, tokens=30, group=1, kv_heads=2)
    state, sums = CascadeState(), torch.zeros(2, dtype=torch.int64)
    parts = layer_jobs(layer, 0, TINY)
    assert len(parts) == 2
    for part in parts:
        results, selection = state.run(part, TINY)
        sums += torch.stack([result.abs_sum.sum() for result in results])
    want = layer.head_importance[0] + (sums * layer.head_weight[0] >> 24)
    assert torch.equal(selection.head_importance, want)
    assert state.head_totals == {}


def test_rows_that_do_not_count_change_nothing():
    (part,) = layer_jobs(layer_of(queries=4, tokens=8, accumulate_from=4, select=False), 0, TINY)
    state = CascadeState()
    _, selection = state.run(part, TINY)
    assert selection is None and torch.equal(state.importance, part.importance) and state.head_totals == {}
