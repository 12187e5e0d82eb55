"""Sums of costs, and errors against float attention."""

import math

import pytest
import torch

from golden.host.traces import LayerTrace, Totals, dense_attention
from golden.layers.traffic import Traffic


def totals(start):
    return Totals(traffic=Traffic(query=start), macs=start, dense_macs=start + 1, rows=start + 2, flat_rows=start + 3)


def test_totals_add_up():
    got = totals(10)
    got.add(totals(100))
    assert (got.traffic.query, got.macs, got.dense_macs, got.rows, got.flat_rows) == (110, 110, 112, 114, 116)


def test_errors():
    heads = torch.ones(1, 1, dtype=torch.bool)
    trace = LayerTrace(layer=0, step=0, heads=heads, head_importance=heads, head_keep=heads)
    trace.measure(*torch.tensor([[3.0, 1.0], [3.0, 4.0]], dtype=torch.float64))
    assert (trace.max_error, trace.relative_error) == (3.0, pytest.approx(0.6))
    trace.measure(*torch.zeros(2, 2, dtype=torch.float64))
    assert (trace.max_error, trace.relative_error) == (0.0, 0.0)


@pytest.mark.parametrize("causal", [False, True])
def test_dense_attention(causal):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, h, 5, 8, generator=generator, dtype=torch.float64) for h in (4, 2, 2))
    got = dense_attention(query, key, value, scaling=0.3, causal=causal)
    for head in range(4):
        score = query[:, head] @ key[:, head // 2].transpose(1, 2) * 0.3
        if causal:
            score = score + torch.full((5, 5), -math.inf).triu(1)
        assert torch.allclose(got[:, head], score.softmax(-1) @ value[:, head // 2])
    last = dense_attention(query[:, :, -1:], key, value, scaling=0.3, causal=True)
    assert torch.allclose(last[:, :, 0], got[:, :, -1]), "a query alone attends all keys"
