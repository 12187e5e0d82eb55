"""Parts of a layer by K/V head, and what a session's state counts."""

import pytest
import torch

from golden.host.calibration import Calibration
from golden.host.state import LayerMemory, Operands, SessionState
from golden.host.tables import Plane, Table
from golden.layers.quantize import AttentionSettings


def operands_of(batch=2, kv_heads=3, group=2):
    heads = torch.arange(batch * kv_heads * group).view(batch, -1)
    return Operands(
        query=torch.randn(batch, kv_heads, group, 4, 8),
        key=torch.randn(batch, kv_heads, 5, 8),
        value=torch.randn(batch, kv_heads, 5, 8),
        scale=torch.randn(batch, kv_heads),
        shift=torch.randn(batch, kv_heads),
        heads=heads % 2 == 0,
        head_importance=heads,
        head_weight=heads + 100,
    )


def test_one_head():
    whole = operands_of()
    part = whole.of_head(1)
    assert torch.equal(part.query, whole.query[:, 1:2]) and torch.equal(part.key, whole.key[:, 1:2])
    assert torch.equal(part.scale, whole.scale[:, 1:2])
    assert part.head_importance.tolist() == [[2, 3], [8, 9]] and part.head_weight.tolist() == [[102, 103], [108, 109]]


def test_heads_as_sequences():
    whole = operands_of()
    part = whole.folded()
    assert part.query.shape == (6, 1, 2, 4, 8) and torch.equal(part.query[4, 0], whole.query[1, 1])
    assert torch.equal(part.value[2, 0], whole.value[0, 2]) and part.scale.shape == (6, 1)
    assert part.head_importance.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]


def test_steps():
    state = SessionState.begin(2, 4, 6, causal=True)
    assert state.step == -1 and state.ids.tolist() == [list(range(6))] * 2 and state.heads.all()
    state.step_with(6, 6)
    assert state.is_prompt and (state.step, state.tokens, state.queries) == (0, 6, 6)
    assert state.dense_scores == 6 * 7 // 2
    state.ids = torch.tensor([[0, 4], [1, 5]])
    state.step_with(7, 1)
    assert not state.is_prompt and state.ids.tolist() == [[0, 4, 6], [1, 5, 6]]
    assert state.table.size == 7 and state.table.importance[:, -1].tolist() == [0, 0]
    assert state.dense_scores == 7


def test_an_encoder_is_no_prompt():
    state = SessionState.begin(1, 4, 6, causal=False)
    state.step_with(6, 6)
    assert not state.is_prompt and state.dense_scores == 36


def test_a_new_token_is_quantized_as_those_before():
    generator = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(1, 2, 6, 16, generator=generator, dtype=torch.float64) for _ in range(3))
    settings = AttentionSettings(key_bits=8, key_lsb_bits=0)
    calibration = Calibration.of(query[:, :, None, :5], key[:, :, :5], value[:, :, :5], settings)
    memory = LayerMemory(
        calibration=calibration,
        key=Plane(calibration.key(key[:, :, :5]), torch.int16),
        value=Plane(calibration.value(value[:, :, :5]), torch.int16),
        heads=torch.ones(1, 2).bool(),
        head_importance=torch.zeros(1, 2),
        head_weight=torch.ones(1, 2),
        tables=[Table.of_all(1, 5)],
        float_key=Plane(key[:, :, :5], key.dtype),
        float_value=Plane(value[:, :, :5], key.dtype),
    )
    memory.append(key[:, :, 5:], value[:, :, 5:], 5)
    assert torch.equal(memory.key.rows.long(), calibration.key(key))
    assert torch.equal(memory.value.rows.long(), calibration.value(value))
    assert memory.tables[0].ids.tolist() == [[0, 1, 2, 3, 4, 5]]
    assert memory.float_key is not None and torch.equal(memory.float_key.rows, key)
    with pytest.raises(
        ValueError,
        match=r"query \(up to \S+e\+09\) and key \(up to [\d.]+\) are too large: .* \S+ octaves and must be below 8",
    ):
        memory.operands(query * 1e9, 1.0, memory.head_importance)
    memory.quantize(query, key * 2, value * 2, settings, torch.arange(6)[None], 6)
    assert int(memory.key.rows.max()) == 127 or int(memory.key.rows.min()) == -127
