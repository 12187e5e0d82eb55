"""Bytes counted by hand, and the factors of the reduction as their product."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.host.accounting import FACTORS, accounting, dram_reduction, factors, summed
from golden.host.algorithm import Algorithm
from golden.host.session import Session
from golden.host.traces import Totals
from golden.layers.layer import Layer, Outcome
from golden.layers.quantize import AttentionSettings
from golden.layers.traffic import traffic
from hdl.spec.config import PRESETS
from hdl.spec.planes import PLANES
from tests.bench.examples import examples

TINY = PRESETS["tiny"]
DIM = 16


def layer_of(queries, tokens, heads, attention, *, group=1, causal=False, accumulate_from=0):
    """A layer as far as its traffic goes; heads: (B, H) alive, each sequence attends the first ``tokens``."""
    batch, kv_heads = len(heads), len(heads[0]) // group
    nothing = torch.zeros(batch, kv_heads, dtype=torch.int64)
    ids = torch.arange(tokens).expand(batch, -1)
    return Layer(
        name="layer",
        query=torch.zeros(batch, kv_heads, group, queries, DIM, dtype=torch.int64),
        key=torch.zeros(batch, kv_heads, tokens, DIM, dtype=torch.int64),
        value=torch.zeros(batch, kv_heads, tokens, DIM, dtype=torch.int64),
        scale=nothing,
        shift=nothing,
        ids=ids,
        importance=torch.zeros_like(ids),
        heads=torch.tensor(heads, dtype=torch.bool),
        head_importance=nothing,
        head_weight=nothing,
        settings=attention,
        flat_limit=0,
        causal=causal,
        accumulate_from=accumulate_from,
        token_keep=tokens,
        head_keep=1,
    )


def totals_of(layer, flat=None, *, dense_queries=None, dense_keys=None, config=TINY):
    flat = torch.zeros(layer.query.shape[:-1], dtype=torch.bool) if flat is None else flat
    nothing = torch.zeros(0)
    outcome = Outcome(
        out=nothing, flat=flat, importance=nothing, keep=nothing, head_importance=nothing, head_keep=nothing
    )
    read = traffic(
        layer,
        outcome,
        config,
        dense_queries=dense_queries or layer.num_queries,
        dense_keys=dense_keys or layer.num_keys,
    )
    return Totals(traffic=read)


def test_one_step_of_generation_by_hand():
    """1 query, 20 tokens so far of which 8 survive, 4 heads and 3 do, half of the V rows, K 6+4, a flat row."""
    attention = AttentionSettings(query_bits=12, key_bits=6, key_lsb_bits=4, value_bits=4, value_keep=0.5)
    layer = layer_of(1, 8, [[1, 0, 1, 1]], attention)
    flat = torch.zeros(1, 4, 1, 1, dtype=torch.bool)
    flat[0, 2] = True
    totals = totals_of(layer, flat, dense_keys=20)
    row = 4 * DIM
    assert totals.traffic.dense == row * 4 * (1 + 2 * 20)
    assert totals.traffic.tokens == row * 4 * (1 + 2 * 8)
    assert totals.traffic.heads == row * 3 * (1 + 2 * 8)
    assert totals.traffic.values == totals.traffic.passes == row * 3 * (1 + 8 + 4)
    assert totals.traffic.query == 4 * DIM * 12 / 8  # the flat row's query twice
    assert totals.traffic.key == 3 * 8 * DIM * 6 / 8
    assert totals.traffic.key_lsb == 8 * DIM * 4 / 8
    assert totals.traffic.value == 3 * 4 * DIM * 4 / 8
    got = factors(totals)
    assert tuple(got) == FACTORS
    assert got["tokens"] == 41 / 17 and got["heads"] == 4 / 3 and got["values"] == 17 / 13 and got["passes"] == 1
    assert got["quantization"] == pytest.approx(row * 39 / (96 + 288 + 64 + 96))


def test_a_shared_head_goes_with_its_last_query_head_and_gathers_no_value_rows():
    attention = AttentionSettings(key_bits=8, key_lsb_bits=0, value_bits=8, value_keep=0.25)
    totals = totals_of(layer_of(1, 8, [[1, 0, 0, 0]], attention, group=2))
    row = 4 * DIM
    assert totals.traffic.tokens == totals.traffic.dense == row * (4 + 2 * 2 * 8)
    assert totals.traffic.heads == totals.traffic.values == row * (1 + 2 * 8)
    assert totals.traffic.value == 8 * DIM


def test_chunks_of_a_prompt_read_again():
    """A prompt of 12 in chunks of 4 queries: K and V of 4, 8 and 12 tokens are read."""
    config = dataclasses.replace(TINY, max_tokens=16)
    attention = AttentionSettings(query_bits=8, key_bits=8, key_lsb_bits=0, value_bits=8)
    totals = totals_of(layer_of(12, 12, [[1] * 4], attention, group=4, causal=True), config=config)
    got = factors(totals)
    assert got["passes"] == (4 * 12 + 2 * 12) / (4 * 12 + 2 * (4 + 8 + 12))
    assert got["quantization"] == 4 and got["tokens"] == got["heads"] == got["values"] == 1
    assert dram_reduction(totals) == totals.traffic.dense / totals.traffic.total == 4 * got["passes"]


@examples(100)
@given(st.data())
def test_factors_multiply_to_the_reduction(data):
    draw = data.draw
    causal = draw(st.booleans())
    group, queries = draw(st.sampled_from([1, 2, 4])), draw(st.integers(1, 20))
    tokens = queries if causal else draw(st.integers(1, 20))
    kv_heads = draw(st.integers(1, 3))
    alive = draw(st.lists(st.booleans(), min_size=group * kv_heads, max_size=group * kv_heads))
    heads = torch.tensor([alive, alive[::-1]])
    heads[:, 0] = True  # one head is always alive
    split = draw(st.sampled_from([(4, 4), (6, 4), (8, 0), (12, 0)]))
    attention = AttentionSettings(
        key_bits=split[0],
        key_lsb_bits=split[1],
        value_bits=draw(st.sampled_from([4, 8])),
        value_keep=draw(st.sampled_from([0.1, 0.5, 1.0])),
    )
    layer = layer_of(
        queries,
        tokens,
        heads.tolist(),
        attention,
        group=group,
        causal=causal,
        accumulate_from=draw(st.integers(0, queries)),
    )
    flat = torch.rand(layer.query.shape[:-1], generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))) < 0.3
    flat &= layer.heads.view(2, kv_heads, group, 1)
    config = dataclasses.replace(TINY, max_tokens=draw(st.sampled_from([16, 64])))
    more = draw(st.integers(0, 30))
    totals = totals_of(layer, flat, dense_queries=queries + more, dense_keys=tokens + more, config=config)
    got = factors(totals)
    assert math.prod(got.values()) == pytest.approx(dram_reduction(totals))
    assert dram_reduction(totals) == totals.traffic.dense / totals.traffic.total
    assert min(got["tokens"], got["heads"], got["values"]) >= 1 >= got["passes"]


def test_sessions_count_the_same():
    """Prompt and generation of a session, in a scope whose K/V heads differ."""
    algorithm = Algorithm(
        attention=AttentionSettings(key_bits=6, key_lsb_bits=4, threshold=0.3), scope="head", token_keep=((0.8, 0.4),)
    )
    session = Session(algorithm, TINY, num_layers=1)
    generator = torch.Generator().manual_seed(0)
    for tokens in (10, 1, 1):
        rows = [torch.randn(2, heads, tokens, DIM, generator=generator) for heads in (4, 2, 2)]
        session.attention(0, *rows, causal=True)
    prompt, generation = session.prompt, session.generation
    both = summed(prompt, generation)
    row = 4 * DIM * 2  # of both sequences
    assert prompt.traffic.dense == prompt.traffic.passes == row * 2 * (2 * 10 + 2 * 10)
    assert generation.traffic.dense == row * 2 * (2 * 1 + 2 * 11 + 2 * 1 + 2 * 12)
    # 80 and 40 % of the 10 tokens survive the prompt, and of 11 the first step; each step attends its own token, too.
    assert generation.traffic.tokens == row * (2 * 2 * 2 + 2 * (8 + 1 + 4 + 1) + 2 * (9 + 1 + 5 + 1))
    assert both.traffic.dense == prompt.traffic.dense + generation.traffic.dense
    for totals in (prompt, generation, both):
        assert math.prod(factors(totals).values()) == pytest.approx(dram_reduction(totals))
    figures = accounting(both)
    assert figures["factors"] == factors(both)
    assert figures["bytes_read"]["total"] == sum(figures["bytes_read"][plane] for plane in PLANES)
    assert figures["flat_row_share"] == both.flat_rows / both.rows
    assert figures["macs_saved"] == 1 - both.macs / both.dense_macs


def test_ids_and_scales_by_hand():
    """Two sequences, two K/V heads of which one keeps half of the tokens; 16 bits an id, 32 a constant."""
    attention = AttentionSettings(
        key_bits=8, key_lsb_bits=0, value_bits=8, key_transform="channels", value_transform="mean"
    )
    algorithm = Algorithm(attention=attention, scope="head", token_keep=((0.5, 1.0),))
    session = Session(algorithm, TINY, num_layers=1)
    generator = torch.Generator().manual_seed(0)
    for tokens in (10, 1):
        rows = [torch.randn(2, heads, tokens, DIM, generator=generator) for heads in (4, 2, 2)]
        session.attention(0, *rows, causal=True)
    prompt, generation = session.prompt.traffic, session.generation.traffic
    constants = 2 * 2 * ((1 + 2 * DIM) + (1 + DIM)) * 4
    assert (prompt.ids, prompt.scales) == (0, constants)
    assert (generation.ids, generation.scales) == (2 * 6 * 2, constants)
    figures = accounting(session.generation)
    moved = generation.total + generation.ids + generation.scales
    assert figures["bytes_ids"] == generation.ids and figures["bytes_scales"] == generation.scales
    assert figures["dram_reduction_everything"] == generation.dense / moved < figures["dram_reduction"]
    assert figures["dram_reduction_everything_fp16"] == generation.dense / 2 / moved


def test_nothing_ran():
    figures = accounting(Totals())
    assert figures["dram_reduction"] == figures["dram_reduction_everything"] == 1 and set(
        figures["factors"].values()
    ) == {1.0}
    assert figures["macs_saved"] == figures["flat_row_share"] == 0
