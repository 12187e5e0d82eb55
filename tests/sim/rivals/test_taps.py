"""Models whose attention is another system's: every head gets its own rows, and every row its keys."""

import pytest
import torch

from golden.host.algorithm import ALGORITHMS
from golden.host.session import Session
from hdl.spec.config import PRESETS
from sim.common.devices import devices
from sim.model.model import predict
from sim.rivals.dense import Dense
from sim.rivals.own import Own
from sim.rivals.rival import RIVALS
from sim.rivals.taps import ClockTap, RivalTap, attended_by
from tests.bench.tiny_models import tiny_causal, tiny_model

TINY = PRESETS["tiny"]
IDS = torch.randint(3, 100, (2, 14), generator=torch.Generator().manual_seed(0))
TEXTS = ["a b c d e", "f g h i j"]


def fine(name):
    """Dense attention with operands so wide that nothing is lost."""
    return Dense(name=name, bits=24)


@pytest.mark.parametrize("tap", (RivalTap(fine("fine")), *map(ClockTap, devices())), ids=lambda tap: type(tap).__name__)
def test_a_system_without_loss_is_the_models_own_attention(tap):
    encoder, language = tiny_model(), tiny_causal()
    embeddings, chances = encoder.embed(TEXTS), language.teacher_forced(IDS, 9)
    with attended_by(encoder.model, tap):
        torch.testing.assert_close(encoder.embed(TEXTS), embeddings, atol=1e-5, rtol=1e-5)
    with attended_by(language.model, tap, 9):
        torch.testing.assert_close(language.teacher_forced(IDS, 9), chances, atol=1e-4, rtol=1e-5)
    # The model's own attention is back.
    torch.testing.assert_close(encoder.embed(TEXTS), embeddings, atol=0, rtol=0)
    if isinstance(tap, ClockTap):
        assert tap.seconds > 0


def test_rows_and_keys_are_counted():
    """3 layers of 4 heads; of 14 tokens 9 are the prompt, and 10 to 13 tokens are attended by a step each."""
    language, tap = tiny_causal(), RivalTap(RIVALS["dense"])
    with attended_by(language.model, tap, 9):
        language.teacher_forced(IDS, 9)
    assert tap.work.rows == 2 * 3 * 4 * 4
    assert tap.work.attended == tap.work.kept == 2 * 3 * 4 * (10 + 11 + 12 + 13)
    assert tap.work.dense_products == 2 * 16 * tap.work.attended
    # Two query heads share a K/V head.
    assert tap.work.key_bytes == 2 * 3 * 2 * (10 + 11 + 12 + 13) * 16 * 1.5
    encoder, tap = tiny_model(), RivalTap(RIVALS["mnnfast"])
    with attended_by(encoder.model, tap):
        encoder.embed(TEXTS)
    assert tap.work.rows == 2 * 2 * 2 * 7 and tap.work.attended == 7 * tap.work.rows
    assert set(tap.blocks) == {"qk", "pv", "softmax", "search", "fetcher", "sram", "dram"}
    assert tap.blocks["dram"].fetched == 8 * tap.work.bytes


def test_approximation_costs_quality():
    language = tiny_causal()
    want = language.teacher_forced(IDS, 9)
    with attended_by(language.model, RivalTap(RIVALS["a3_aggressive"]), 9):
        assert not torch.allclose(language.teacher_forced(IDS, 9), want, atol=1e-2)


# SpAtten's own column --------------------------------------------------------------------------------------------


def own_of(algorithm, *, steps_only):
    own = Own(TINY, steps_only=steps_only)
    own.session = Session(ALGORITHMS[algorithm], TINY, execute=own.execute)
    return own


def test_layers_of_an_encoder():
    """Unpruned: every layer's two heads as the model of cycles has them, sentence by sentence."""
    encoder, own, calls = tiny_model(), own_of("dense", steps_only=False), []
    count = own.count
    own.count = lambda shapes: (calls.append(shapes), count(shapes))  # type: ignore[method-assign]
    encoder.embed(TEXTS, own.session)
    assert [len(shapes) for shapes in calls] == [2] * 4  # 2 layers of 2 sentences
    assert own.work.cycles == sum(predict(shapes, TINY).cycles for shapes in calls)
    assert own.work.rows == 4 * 2 * 7 and own.work.scored == own.work.kept == 7 * own.work.rows
    traffic = own.session.prompt.traffic
    assert own.work.key_bytes >= traffic.key and own.work.value_bytes >= traffic.value
    assert own.blocks["dram"].fetched == 8 * own.work.bytes
    # Every query row is read once, in whole words.
    assert own.work.query_bytes >= traffic.query


def test_the_prompt_does_not_count():
    language, own = tiny_causal(), own_of("dense", steps_only=True)
    language.teacher_forced(IDS, 9, own.session)
    assert own.work.rows == 2 * 3 * 4 * 4
    assert own.work.scored == 2 * 3 * 4 * (10 + 11 + 12 + 13)


def test_pruned_tokens_are_not_scored():
    encoder, own = tiny_model(), own_of("paper-bert", steps_only=False)
    encoder.embed(TEXTS, own.session)
    assert own.work.kept < own.work.scored < 4 * 2 * 7 * 7
    assert own.work.scored * 16 + own.work.kept * 16 == own.session.prompt.macs
