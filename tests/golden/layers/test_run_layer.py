"""A whole layer at once equals its descriptors one by one, and what is selected is counted by hand."""

import pytest
import torch

from golden.layers import run_layer as module
from golden.layers.cascade_state import CascadeState
from golden.layers.layer_job import layer_jobs
from golden.layers.quantize import AttentionSettings
from golden.layers.run_layer import run_layer
from hdl.spec.config import PRESETS
from tests.bench.layers import layer_of

TINY = PRESETS["tiny"]
PROGRESSIVE = AttentionSettings(query_bits=8, key_bits=6, key_lsb_bits=4, value_bits=6, value_keep=0.5)

LAYERS = {
    "generation": dict(tokens=20, ids=[[0, 2, 3, 7, 11, 19], [1, 2, 4, 8, 12, 13]], batch=2, settings=PROGRESSIVE),
    "groups": dict(group=2, batch=2, heads=[[1, 0, 1, 1], [0, 1, 1, 1]], settings=PROGRESSIVE, pin_last=1),
    "prompt": dict(queries=40, tokens=40, group=2, causal=True, settings=PROGRESSIVE, decay=1, pin_first=2),
    "the last rows count": dict(queries=12, tokens=12, causal=True, accumulate_from=7),
    "none count": dict(queries=5, tokens=12, accumulate_from=5),
    "encoder": dict(queries=9, tokens=9, kv_heads=3, batch=2, heads=[[1, 1, 0], [0, 1, 1]], settings=PROGRESSIVE),
    "no selection": dict(queries=3, tokens=9, select=False),
}


@pytest.mark.parametrize("scores", [2**18, 16])
@pytest.mark.parametrize("name", LAYERS)
def test_equals_its_descriptors(name, scores, monkeypatch):
    """Also if so few scores are computed at once that every head and block is a part of its own."""
    monkeypatch.setattr(module, "_SCORES", scores)
    fields = {"token_keep": 4, "head_keep": 2} | LAYERS[name]
    layer = layer_of(**fields)
    outcome = run_layer(layer, TINY)
    for index in range(len(layer.ids)):
        state, selection = CascadeState(), None
        out, flat = torch.zeros_like(outcome.out[index]), torch.zeros_like(outcome.flat[index])
        chunks = iter(layer.chunks(TINY))
        for descriptor in layer_jobs(layer, index, TINY):
            results, selection = state.run(descriptor, TINY)
            chunk = next(chunks) if results else None
            for (kv, places), result in zip(layer.live_groups(index), results, strict=bool(results)):
                rows = slice(chunk.start, chunk.stop)
                out[kv, places, rows] = result.out.unflatten(0, (len(places), -1))
                flat[kv, places, rows] = result.flat.unflatten(0, (len(places), -1))
        assert torch.equal(outcome.out[index], out) and torch.equal(outcome.flat[index], flat)
        if layer.select:
            alive = layer.heads[index]
            assert torch.equal(outcome.importance[index], selection.importance)
            assert torch.equal(outcome.keep[index], selection.keep)
            assert torch.equal(outcome.head_importance[index][alive], selection.head_importance)
            assert torch.equal(outcome.head_keep[index][alive], selection.head_keep)
        else:
            assert torch.equal(outcome.importance[index], state.importance)


def test_pruned_heads_stay_so_and_give_zeros():
    layer = layer_of(group=2, heads=[[0, 1, 1, 1]], head_keep=2)
    outcome = run_layer(layer, TINY)
    assert not outcome.out[0, 0, 0].any() and outcome.out[0, 0, 1].any()
    assert int(outcome.head_keep.sum()) == 2 and not outcome.head_keep[0, 0]
    assert outcome.head_importance[0, 0] == layer.head_importance[0, 0]


def test_equal_rows_give_the_mean_of_the_values():
    """Queries of zeros attend all keys alike: V of 0, 1, … 7 has the mean 3.5, in Q(operand_width).8."""
    layer = layer_of(tokens=8, kv_heads=1)
    layer.query[:] = 0
    layer.value[:] = torch.arange(8, dtype=torch.int16)[:, None]
    outcome = run_layer(layer, TINY)
    word = 2 ** (TINY.operand_width - 8)
    assert outcome.out.unique().tolist() == [int(3.5 * word * 2**8)]
    assert (outcome.importance - layer.importance).tolist() == [[8192] * 8]
