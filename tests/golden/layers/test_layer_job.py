"""Descriptors of one sequence: which load the list, which select, and what their jobs attend."""

import dataclasses

import pytest
import torch

from golden.layers.layer_job import layer_jobs
from hdl.spec.config import PRESETS
from tests.bench.layers import layer_of

SMALL = dataclasses.replace(PRESETS["tiny"], max_tokens=16)


def test_a_prompt_loads_its_list_first_and_selects_last():
    layer = layer_of(queries=20, tokens=20, causal=True, token_keep=7, pin_first=1, decay=2)
    listed, first, second = layer_jobs(layer, 0, SMALL)
    assert not listed.jobs and torch.equal(listed.ids, layer.ids[0]) and not listed.select
    assert torch.equal(listed.importance, layer.importance[0]) and listed.num_tokens == 20
    assert first.dense and second.dense and first.ids is None and second.ids is None
    assert (first.select, second.select) == (False, True)
    assert (second.token_keep, second.pin_first, second.decay) == (7, 1, 2)
    assert [(job.keys, job.num_queries, job.ids) for job in first.jobs] == [(16, 16, None)] * 2
    assert [(job.keys, job.num_queries, job.causal) for job in second.jobs] == [(20, 4, True)] * 2


@pytest.mark.parametrize("resume", [False, True])
def test_generation(resume):
    ids = [[0, 3, 4], [1, 2, 5]]
    layer = layer_of(batch=2, group=2, kv_heads=3, tokens=8, ids=ids, heads=[[1, 1, 0, 0, 0, 1], [1, 0, 1, 1, 0, 0]])
    (part,) = layer_jobs(layer, 1, SMALL, resume=resume)
    assert part.kv_heads == [0, 1] and part.head_ids == [0, 2, 3]
    assert [(job.group, job.head, job.num_keys, job.num_rows) for job in part.jobs] == [(1, 0, 3, 8), (2, 1, 3, 8)]
    assert [job.name for job in part.jobs] == ["layer 0 head 0", "layer 0 head 2"]
    assert torch.equal(part.jobs[1].query, layer.query[1, 1, :, 0]) and part.jobs[0].query.dtype == torch.int64
    assert part.head_weight == layer.head_weight[1, [0, 2, 3]].tolist()
    assert part.head_importance == layer.head_importance[1, [0, 2, 3]].tolist()
    assert (part.ids is None, part.importance is None) == (resume, resume)
    if not resume:
        assert part.ids.tolist() == ids[1]


def test_more_survivors_than_there_are_is_all():
    (part,) = layer_jobs(layer_of(tokens=5, token_keep=99, head_keep=99), 0, SMALL)
    assert (part.token_keep, part.head_keep) == (5, 2)


@pytest.mark.parametrize("resume", [False, True])
def test_a_layer_without_queries_only_selects(resume):
    layer = layer_of(queries=0, tokens=6, token_keep=3, pin_last=1)
    (part,) = layer_jobs(layer, 0, SMALL, resume=resume)
    assert not part.jobs and not part.head_ids and part.select
    assert (part.token_keep, part.pin_last, part.num_tokens) == (3, 1, 6)
    assert (part.ids is None) == resume
