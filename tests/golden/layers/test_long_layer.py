"""Layers of more tokens than a job takes: all heads at once, and as chains of jobs."""

import dataclasses
import random

import pytest
import torch

from golden.layers.job import run_jobs
from golden.layers.layer import Layer
from golden.layers.long_layer import chains
from golden.layers.quantize import AttentionSettings
from golden.layers.run_layer import run_layer
from hdl.spec.config import PRESETS
from tests.hdl.test_chains import CONFIG


def make_layer(rng, *, tokens, queries, group=1, causal=True, value_keep=1.0, batch=1, kv_heads=2, dim=32, **fields):
    generator = torch.Generator().manual_seed(rng.randrange(2**31))

    def integers(*shape, bits=8):
        half = 2 ** (bits - 1)
        return (torch.randn(*shape, dim, generator=generator) * half / 4).round().clamp(-half, half - 1).long()

    heads = kv_heads * group
    settings = AttentionSettings(query_bits=8, key_bits=8, key_lsb_bits=0, value_bits=8, value_keep=value_keep)
    return Layer(
        name="layer",
        query=integers(batch, kv_heads, group, queries),
        key=integers(batch, kv_heads, tokens),
        value=integers(batch, kv_heads, tokens),
        scale=torch.full((batch, kv_heads), 40000),
        shift=torch.full((batch, kv_heads), 15),
        ids=torch.arange(tokens).expand(batch, -1),
        importance=torch.zeros(batch, tokens, dtype=torch.int64),
        heads=torch.ones(batch, heads, dtype=torch.bool),
        head_importance=torch.zeros(batch, heads, dtype=torch.int64),
        head_weight=torch.ones(batch, heads, dtype=torch.int64),
        settings=settings,
        flat_limit=0,
        causal=causal,
        **{"token_keep": tokens, "head_keep": heads, **fields},
    )


def by_jobs(layer):
    """The outputs that the chains' last jobs give."""
    out = torch.zeros_like(layer.query)
    for chain in chains(layer, CONFIG):
        rows = run_jobs(chain.jobs, CONFIG)[-1].out.unflatten(0, (len(chain.places), -1))
        out[chain.sequence, chain.kv_head, chain.places, chain.chunk.start : chain.chunk.stop] = rows
    return out


CASES = {
    "prompt": {"tokens": 150, "queries": 150},
    "prompt of groups": {"tokens": 140, "queries": 140, "group": 3},
    "token": {"tokens": 200, "queries": 1},
    "token of groups": {"tokens": 300, "queries": 1, "group": 3},
    "token that keeps half of V": {"tokens": 200, "queries": 1, "value_keep": 0.5},
    "encoder": {"tokens": 150, "queries": 150, "causal": False},
    "batch": {"tokens": 150, "queries": 5, "batch": 2},
}


@pytest.mark.parametrize("case", CASES)
def test_all_heads_at_once_are_the_chains_of_jobs(case):
    layer = make_layer(random.Random(case), **CASES[case])
    assert layer.is_long(CONFIG)
    assert torch.equal(run_layer(layer, CONFIG).out, by_jobs(layer))


@pytest.mark.parametrize("queries", [1, 5, 12, 150])
def test_parts_cover_the_tokens(queries):
    """Every job fits a region, and each row attends a token of the last one."""
    for group in (1, 3):
        layer = make_layer(random.Random(queries), tokens=171, queries=queries, group=group)
        for chunk in layer.chunks(CONFIG):
            parts = layer.parts(chunk, CONFIG)
            assert [first for first, _ in parts[1:]] == [end for _, end in parts[:-1]]
            assert parts[0][0] == 0 and parts[-1][1] == chunk.keys
            assert max(end - first for first, end in parts) <= CONFIG.region_keys(32)
            assert parts[-1][0] < chunk.keys - (chunk.stop - chunk.start - 1)
            assert (chunk.stop - chunk.start) * group <= CONFIG.chain_rows


def test_what_cannot_be_a_chain_is_refused():
    layer = make_layer(random.Random(1), tokens=150, queries=1)
    without = dataclasses.replace(CONFIG, chain_rows=0)
    with pytest.raises(ValueError, match="at most 128, not 150"):
        chains(layer, without)
    with pytest.raises(ValueError, match="token_keep and head_keep"):
        run_layer(dataclasses.replace(layer, token_keep=10), CONFIG)
    split = dataclasses.replace(layer.settings, key_bits=8, key_lsb_bits=4)
    with pytest.raises(ValueError, match="key_lsb_bits"):
        run_layer(dataclasses.replace(layer, settings=split), CONFIG)


def test_a_part_fits_every_region():
    for config in (CONFIG, PRESETS["paper-32k"]):
        for dim in config.dims:
            assert config.part_keys(dim) + config.chain_rows <= config.region_keys(dim)
