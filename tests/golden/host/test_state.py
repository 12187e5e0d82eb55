"""Parts of a layer by K/V head, and what a session's state counts."""

import pytest
import torch

from golden.host.state import FloatRows, LayerMemory, Operands, SessionState
from golden.host.tables import Table
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
    key[:, :, 5:] *= 0.1
    value[:, :, 5:] *= 0.1
    memory = memory_of(query[:, :, :5], key[:, :, :5], value[:, :, :5], settings)
    calibration = memory.calibration
    assert not memory.append(query[:, :, 5:], key[:, :, 5:], value[:, :, 5:], 5).any()
    assert memory.calibration is calibration
    assert torch.equal(memory.key.rows.long(), calibration.key(key))
    assert torch.equal(memory.value.rows.long(), calibration.value(value))
    assert memory.tables[0].ids.tolist() == [[0, 1, 2, 3, 4, 5]]
    assert memory.rows is not None and torch.equal(memory.rows.key.rows, key)
    assert torch.equal(memory.rows.query[:, :, 0], query)
    with pytest.raises(
        ValueError,
        match=r"query \(up to \S+e\+09\) and key \(up to [\d.]+\) are too large: .* \S+ octaves and must be below 8",
    ):
        memory.operands(query * 1e9, 1.0, memory.head_importance)
    memory.quantize(AttentionSettings(key_bits=4, key_lsb_bits=0), torch.arange(6)[None], 6)
    assert int(memory.key.rows.abs().max()) == 7


def memory_of(query, key, value, settings, *, width=16, batch=1):
    tokens = key.shape[2]
    return LayerMemory.of(
        FloatRows.of(query, key, value, key.dtype),
        settings,
        keep=True,
        ids=torch.arange(tokens).expand(batch, -1),
        tokens=tokens,
        width=width,
        measure=None,
        heads=torch.ones(batch, query.shape[1]).bool(),
        head_importance=torch.zeros(batch, query.shape[1]),
        tables=[Table.of_all(batch, tokens)],
    )


def test_planes_follow_a_token_that_exceeds_them():
    """Only the head where it does; the bytes are those of its rows, read in fp32 and written again."""
    generator = torch.Generator().manual_seed(2)
    query, key, value = (torch.randn(1, 2, 6, 10, generator=generator, dtype=torch.float64) for _ in range(3))
    key[:, :, 5:] *= 0.1
    value[:, :, 5:] *= 0.1
    key[0, 1, 5, 3] = 100.0
    settings = AttentionSettings(key_bits=8, key_lsb_bits=0)
    memory = memory_of(query[:, :, :5], key[:, :, :5], value[:, :, :5], settings)
    before = memory.calibration
    outgrown = memory.append(query[:, :, 5:], key[:, :, 5:], value[:, :, 5:], 5)
    assert outgrown.tolist() == [[False, True]]
    assert torch.equal(memory.key.rows[:, 0, :, :10].long(), before.key(key)[:, 0])
    assert int(memory.key.rows[0, 1, 5, 3]) == 127 and int(memory.key.rows[0, 1, :5].abs().max()) <= 4
    assert torch.equal(memory.key.rows.long()[..., :10], memory.calibration.key(key))
    assert not memory.key.rows[..., 10:].any() and memory.key.rows.shape[-1] == 16
    assert memory.requantized_bytes(outgrown, 6) == 6 * 16 * (32 + 32 + 8 + 8) / 8
    assert memory.head_weight.shape == (1, 2) and int(memory.head_weight.max()) <= 65535


def test_a_copy_goes_on_by_itself_and_a_selection_is_whole():
    generator = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(2, 2, 6, 16, generator=generator) for _ in range(3))
    memory = memory_of(*(t[:, :, :5] for t in (query, key, value)), AttentionSettings(), batch=2)
    saved = memory.copy()
    memory.append(query[:, :, 5:].double(), key[:, :, 5:].double() * 9, value[:, :, 5:].double(), 5)
    assert (saved.key.count, memory.key.count) == (5, 6) and saved.tables[0].size == 5
    again = saved.copy()
    again.append(query[:, :, 5:].double(), key[:, :, 5:].double() * 9, value[:, :, 5:].double(), 5)
    assert torch.equal(again.key.rows, memory.key.rows) and torch.equal(again.value.rows, memory.value.rows)
    swapped = memory.select(torch.tensor([1, 0, 1]), 2)
    assert torch.equal(swapped.key.rows[2], memory.key.rows[1]) and len(swapped.heads) == 3
    assert swapped.tables[0].ids.shape == (3, 6) and torch.equal(swapped.rows.key.rows[1], memory.rows.key.rows[0])
    back = memory.before(4)
    assert back.key.count == back.rows.value.count == back.tables[0].size == 4
    memory.tables[0] = memory.tables[0].chosen(torch.tensor([[True, False, True, True, True, True]] * 2))
    with pytest.raises(ValueError, match="a cache can go back to 4 tokens only if none of them was pruned since"):
        memory.before(4)
