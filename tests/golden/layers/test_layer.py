"""Parts of a layer: chunks that the machine takes in a job, and the heads that are left."""

import dataclasses

import pytest

from golden.layers.layer import Chunk
from hdl.spec.config import PRESETS
from tests.bench.layers import layer_of

SMALL = dataclasses.replace(PRESETS["tiny"], max_tokens=16)


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        (dict(queries=16), [Chunk(0, 16, 20, True)]),
        (dict(queries=20), [Chunk(0, 16, 20, True), Chunk(16, 20, 20, True)]),
        (dict(queries=20, causal=True), [Chunk(0, 16, 16, True), Chunk(16, 20, 20, True)]),
        (dict(queries=9, group=2), [Chunk(0, 8, 20, True), Chunk(8, 9, 20, True)]),
        (dict(queries=9, accumulate_from=4), [Chunk(0, 4, 20, False), Chunk(4, 9, 20, True)]),
        (dict(queries=9, accumulate_from=9), [Chunk(0, 9, 20, False)]),
        (dict(queries=1, group=2), [Chunk(0, 1, 20, True)]),
    ],
)
def test_chunks(fields, want):
    assert layer_of(tokens=20, **fields).chunks(SMALL) == want


def test_a_group_larger_than_a_job_goes_query_by_query():
    chunks = layer_of(queries=3, group=32, kv_heads=1).chunks(SMALL)
    assert [(chunk.start, chunk.stop) for chunk in chunks] == [(0, 1), (1, 2), (2, 3)]


def test_live_groups():
    layer = layer_of(batch=2, kv_heads=3, group=2, heads=[[1, 0, 0, 0, 1, 1], [0, 1, 1, 1, 0, 0]])
    assert layer.live_groups(0) == [(0, [0]), (2, [0, 1])]
    assert layer.live_groups(1) == [(0, [1]), (1, [0, 1])]


def test_only_a_row_alone_gathers():
    assert layer_of().gathers
    assert not layer_of(group=2).gathers and not layer_of(queries=2).gathers
