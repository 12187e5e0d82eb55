"""Counts of survivors, the normalization of a prompt, and selections without a layer."""

import pytest
import torch

from golden.datapath import cascade
from golden.host.algorithm import Algorithm
from golden.host.layer_step import LayerStep, step_settings
from golden.host.state import SessionState
from golden.host.tables import Table
from golden.host.traces import LayerTrace
from golden.layers.quantize import AttentionSettings
from golden.layers.run_layer import run_layer
from hdl.spec.config import PRESETS


def step_of(algorithm, *, tokens=10, steps=0, causal=True, execute=run_layer):
    state = SessionState.begin(1, 4, tokens - steps, causal)
    for done in range(steps + 1):
        state.step_with(tokens - steps + done, 1 if done else tokens - steps)
    nothing = torch.zeros(1, 4)
    trace = LayerTrace(layer=0, step=steps, heads=nothing, head_importance=nothing, head_keep=nothing)
    config = PRESETS["tiny"]
    return LayerStep(
        algorithm=algorithm, config=config, num_layers=2, execute=execute, state=state, trace=trace, dim=16
    )


def forbidden(layer, config):
    raise AssertionError("nothing was to be run")


def test_a_prompt_has_its_own_settings():
    prompt = AttentionSettings(key_bits=12, key_lsb_bits=0)
    algorithm = Algorithm(prompt=prompt)
    assert step_settings(algorithm, step_of(algorithm).state) == prompt
    assert step_settings(algorithm, step_of(algorithm, steps=1).state) == algorithm.attention
    assert step_settings(algorithm, step_of(algorithm, causal=False).state) == algorithm.attention


def test_counts():
    step = step_of(Algorithm(token_keep=(1.0, 0.25), head_keep=(1.0, 0.6), pin_first=2, pin_last=1))
    assert [step.token_count(layer, 2) for layer in (0, 1)] == [10, 3]
    assert [step.head_count(layer) for layer in (0, 1)] == [4, 3]
    heads = step_of(Algorithm(scope="head", token_keep=((0.5, 0.2), 1.0), pin_first=3))
    assert [heads.token_count(0, 2, kv) for kv in (0, 1)] == [5, 3]


def test_the_newest_token_of_a_step_is_pinned():
    algorithm = Algorithm(token_keep=(1.0, 0.05))
    assert (step_of(algorithm).pin_last, step_of(algorithm, steps=2).pin_last) == (0, 1)
    assert step_of(Algorithm(pin_last=3), steps=2).pin_last == 3


@pytest.mark.parametrize(("rows", "want"), [(0, [4, 5, 8, 16]), (2, [2, 2, 2, 4])])
def test_normalized_importance(rows, want):
    """Of 4 rows token 0 could be attended by 4, token 3 by 1; of the last 2 rows by 2, 2, 2 and 1."""
    step, table = step_of(Algorithm(normalize=True, importance_rows=rows)), Table.of_all(1, 4)
    table.importance = torch.tensor([[4, 4, 4, 4]]) if not rows else torch.tensor([[2, 2, 2, 2]])
    step.normalize(table)
    assert table.importance.tolist() == [want]


def test_normalization_saturates_and_may_be_off():
    table = Table.of_all(1, 2)
    table.importance = torch.tensor([[7, cascade.LIMIT]])
    step_of(Algorithm(normalize=True)).normalize(table)
    assert table.importance.tolist() == [[7, cascade.LIMIT]]
    table.importance = torch.tensor([[1, 2]])
    step_of(Algorithm()).normalize(table)
    assert table.importance.tolist() == [[1, 2]]


def test_a_selection_that_changes_nothing_is_not_run():
    step, table = step_of(Algorithm(), execute=forbidden), Table.of_all(1, 4)
    assert step.select("selection", table, 4, torch.zeros(1, 2, 4, 16)).tolist() == [[True] * 4]


def test_a_selection_without_a_layer():
    step, table = step_of(Algorithm(decay=1, pin_first=1)), Table.of_all(1, 4)
    table.importance = torch.tensor([[1, 8, 6, 9]])
    keep = step.select("selection", table, 2, torch.zeros(1, 2, 4, 16, dtype=torch.int16))
    assert keep.int().tolist() == [[1, 0, 0, 1]] and table.importance.tolist() == [[1, 4, 3, 5]]
