"""Products counted one by one, and sums of traffic; tests/golden/host/test_accounting.py counts bytes by hand."""

import dataclasses

import pytest
import torch

from golden.layers.quantize import AttentionSettings
from golden.layers.run_layer import run_layer
from golden.layers.traffic import Traffic, multiply_accumulates, traffic
from hdl.spec.config import PRESETS
from hdl.spec.planes import PLANES
from tests.bench.layers import layer_of

TINY = PRESETS["tiny"]
SMALL = dataclasses.replace(TINY, max_tokens=16)
PROGRESSIVE = AttentionSettings(query_bits=8, key_bits=6, key_lsb_bits=4, value_bits=6, value_keep=0.3)


@pytest.mark.parametrize(
    "fields",
    [
        dict(tokens=11, heads=[[1, 0]]),
        dict(tokens=20, queries=20, causal=True, group=2, heads=[[1, 1, 1, 0]]),
        dict(tokens=20, queries=5, batch=2, flat_limit=2**17),
    ],
)
def test_products(fields):
    layer = layer_of(settings=PROGRESSIVE, **fields)
    outcome = run_layer(layer, SMALL)
    count = 0
    for chunk in layer.chunks(SMALL):
        for head in layer.heads.flatten().nonzero().flatten().tolist():
            for query in range(chunk.start, chunk.stop):
                keys = layer.num_keys - layer.num_queries + query + 1 if layer.causal else layer.num_keys
                flat = bool(outcome.flat.flatten(0, 2)[head, query])
                count += 16 * (keys * (1 + flat) + min(keys, PROGRESSIVE.keep_count(chunk.keys)))
    assert multiply_accumulates(layer, outcome, SMALL) == count


def test_planes_and_their_sum():
    layer = layer_of(tokens=8, settings=PROGRESSIVE)
    outcome = run_layer(layer, TINY)
    outcome.flat = torch.zeros_like(outcome.flat)
    got = traffic(layer, outcome, TINY, dense_queries=1, dense_keys=8)
    assert got.by_plane == {"query": 2 * 16, "key": 2 * 8 * 12, "key_lsb": 0, "value": 2 * 3 * 12}
    assert got.total == 32 + 192 + 72 and tuple(got.by_plane) == PLANES


def test_add():
    fields = [field.name for field in dataclasses.fields(Traffic)]
    first, second = (Traffic(**{name: float(start + at) for at, name in enumerate(fields)}) for start in (1, 100))
    first.add(second)
    assert [getattr(first, name) for name in fields] == [101.0 + 2 * at for at in range(len(fields))]
