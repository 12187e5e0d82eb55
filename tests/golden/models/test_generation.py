"""What ``generate`` of transformers and its cache do to sequences, they do to what a session knows of them."""

import copy

import pytest
import torch
from transformers import (
    BertGenerationConfig,
    BertGenerationDecoder,
    DynamicCache,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    MllamaForCausalLM,
    MoshiConfig,
    MoshiForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    StaticCache,
)
from transformers.models.mllama.configuration_mllama import MllamaTextConfig

from golden.host.algorithm import ALGORITHMS, Algorithm, Schedule
from golden.host.session import Session
from golden.layers.quantize import AttentionSettings
from golden.models.backend import ModelError, replaced
from hdl.spec.config import PRESETS
from tests.bench.tiny_models import GPT2, LLAMA, SIZES, tiny_causal

TINY = PRESETS["tiny"]
DENSE = ALGORITHMS["dense"]
PRUNED = Algorithm(
    attention=AttentionSettings(key_bits=6, value_bits=6, threshold=0.3),
    scope="layer",
    token_keep=Schedule(start=0.7, end=0.5, front=0.0),
    pin_first=1,
)
CASCADE = Algorithm(attention=PRUNED.attention, token_keep=Schedule(start=0.8, end=0.5, front=0.3))
ALGORITHMS_TRIED = {"dense": DENSE, "layer": PRUNED, "cascade": CASCADE}
IDS = torch.randint(3, 100, (2, 9), generator=torch.Generator().manual_seed(5))
LOCAL = {
    "mistral": (MistralForCausalLM, MistralConfig(**SIZES, num_key_value_heads=1, head_dim=16, sliding_window=4)),
    "gemma3": (
        Gemma3ForCausalLM,
        Gemma3TextConfig(
            **SIZES,
            num_key_value_heads=1,
            head_dim=16,
            sliding_window=4,
            layer_types=["sliding_attention", "full_attention"],
        ),
    ),
}
MLLAMA = MllamaTextConfig(**SIZES, num_key_value_heads=1, pad_token_id=0, bos_token_id=1, eos_token_id=2)
MODELS = {
    "llama": (type(tiny_causal().model), LLAMA),
    "gpt2": (GPT2LMHeadModel, GPT2),
    "mllama": (MllamaForCausalLM, MLLAMA),  # whose type transformers' table does not have
    "opt": (OPTForCausalLM, OPTConfig(**SIZES, ffn_dim=32, word_embed_proj_dim=32)),
    **LOCAL,
}


def generated(model, ids, algorithm=DENSE, session=None, **options):
    """``generate`` of a model on a session, or in float if the algorithm is None."""
    fixed = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": 2}
    with torch.no_grad():
        if algorithm is None:
            return model.model.generate(ids, **fixed | options)
        with replaced(model.model, session or Session(algorithm, TINY)):
            return model.model.generate(ids, **fixed | options)


def close(got, want):
    return got.shape == want.shape and float((got - want).norm() / want.norm()) < 0.005


@pytest.mark.parametrize("name", MODELS)
def test_greedy_equals_our_own_generation_and_float(name):
    model = tiny_causal(*MODELS[name])
    got = generated(model, IDS)
    assert torch.equal(got[:, 9:], model.generate(IDS, 6, Session(DENSE, TINY)))
    assert torch.equal(got, generated(model, IDS, None))


@pytest.mark.parametrize("name", ALGORITHMS_TRIED)
def test_beams_have_the_scores_of_their_sequences(name):
    model, algorithm = tiny_causal(), ALGORITHMS_TRIED[name]
    got = generated(
        model, IDS, algorithm, num_beams=3, num_return_sequences=3, return_dict_in_generate=True, output_scores=True
    )
    assert got.sequences.shape == (6, 15)
    for sequence, score in zip(got.sequences, got.sequences_scores, strict=True):
        alone = model.teacher_forced(sequence[None], 9, Session(algorithm, TINY))
        assert float(alone) / 6 == pytest.approx(float(score), abs=1e-5)
    if name == "dense":
        assert torch.equal(got.sequences[::3], generated(model, IDS, None, num_beams=3))


def test_drafted_tokens_are_as_one_by_one():
    """Prompt lookup and an assistant: several tokens at once, and a cache that is cropped."""
    model, ids = tiny_causal(), torch.tensor([[3, 4, 5, 6, 3, 4, 5, 6, 3, 4]])
    wanted = generated(model, ids)
    assert torch.equal(wanted, generated(model, ids, None))
    for drafts in ({"prompt_lookup_num_tokens": 3}, {"assistant_model": tiny_causal(*MODELS["gpt2"]).model}):
        session = Session(DENSE, TINY)
        assert torch.equal(generated(model, ids, session=session, **drafts), wanted)
        assert session.generation.rows > 5 * model.num_layers * model.num_heads, "some drafts were wrong"
        with pytest.raises(ValueError, match=r"a cache can go back to 1[0-9] tokens only if none of them was pruned"):
            generated(model, ids, PRUNED, **drafts)


def test_sampling_draws_what_float_draws():
    model = tiny_causal()
    torch.manual_seed(3)
    got = generated(model, IDS, do_sample=True, num_return_sequences=2)
    torch.manual_seed(3)
    assert torch.equal(got, generated(model, IDS, None, do_sample=True, num_return_sequences=2))


@pytest.mark.parametrize("name", ALGORITHMS_TRIED)
def test_without_a_cache_every_call_is_a_prompt(name):
    model, session = tiny_causal(), Session(ALGORITHMS_TRIED[name], TINY)
    with torch.no_grad(), replaced(model.model, session):
        for count in (5, 9, 6):
            got = model.model(IDS[:, :count], use_cache=False)
            assert got.past_key_values is None
            assert torch.equal(got.logits, model.logits(IDS[:, :count], Session(session.algorithm, TINY)))


@pytest.mark.parametrize("name", ["dense", "layer", "cascade"])
def test_several_tokens_at_once_are_as_one_by_one(name):
    model, algorithm = tiny_causal(), ALGORITHMS_TRIED[name]

    def run(sizes):
        outs, cache = [], DynamicCache()
        with torch.no_grad(), replaced(model.model, Session(algorithm, TINY)):
            for ids in IDS.split(sizes, 1):
                outs.append(model.model(ids, past_key_values=cache).logits)
        assert cache.get_seq_length() == 9
        return torch.cat(outs, 1)

    assert torch.equal(run([4, 3, 2]), run([4, 1, 1, 1, 1, 1]))
    with torch.no_grad(), replaced(model.model, Session(algorithm, TINY)):
        cache = model.model(IDS[:, :4]).past_key_values
        last = model.model(IDS[:, 4:], past_key_values=cache, logits_to_keep=2).logits
    assert torch.equal(last, run([4, 5])[:, -2:])


@pytest.mark.parametrize("name", ["dense", "layer"])
def test_what_a_cache_does(name):
    """Batch selection, repetition, crop, reset and copies."""
    model, session = tiny_causal(), Session(ALGORITHMS_TRIED[name], TINY)
    run = model.model

    def step(cache, ids):
        return run(ids, past_key_values=cache).logits

    with torch.no_grad(), replaced(run, session):
        cache = DynamicCache()
        step(cache, IDS[:, :6])
        other = copy.deepcopy(cache)
        want = step(copy.deepcopy(cache), IDS[:, 6:7])
        other.batch_repeat_interleave(2)
        assert close(step(copy.deepcopy(other), IDS[[0, 0, 1, 1], 6:7]), want[[0, 0, 1, 1]])
        other.batch_select_indices(torch.tensor([3, 0]))
        assert close(step(copy.deepcopy(other), IDS[[1, 0], 6:7]), want[[1, 0]])
        other.reorder_cache(torch.tensor([1, 1]))
        assert close(step(other, IDS[[0, 0], 6:7]), want[[0, 0]])
        again = copy.deepcopy(cache)
        step(again, IDS[:, 7:9])
        again.crop(-2)
        assert again.get_seq_length() == 6 and torch.equal(step(again, IDS[:, 6:7]), want)
        again.reset()
        assert again.get_seq_length() == 0
        assert torch.equal(step(again, IDS[:, :6]), step(DynamicCache(), IDS[:, :6]))
        assert torch.equal(step(cache, IDS[:, 6:7]), want), "the first cache is untouched"


def test_pruned_tokens_do_not_come_back():
    model = tiny_causal()
    with torch.no_grad(), replaced(model.model, Session(PRUNED, TINY)):
        cache = model.model(IDS).past_key_values
        model.model(IDS[:, :1], past_key_values=cache)
        with pytest.raises(ValueError, match="a cache can go back to 7 tokens only if none of them was pruned since"):
            cache.crop(-3)


def test_a_conversation_goes_on():
    model, session = tiny_causal(), Session(DENSE, TINY)
    with torch.no_grad(), replaced(model.model, session):
        first = model.model.generate(IDS[:1], max_new_tokens=4, do_sample=False, return_dict_in_generate=True)
        more = torch.cat([first.sequences, IDS[1:, :5]], 1)
        second = model.model.generate(more, past_key_values=first.past_key_values, max_new_tokens=4, do_sample=False)
    assert torch.equal(second, generated(model, more, None, max_new_tokens=4, min_new_tokens=0, eos_token_id=None))


# Padding -------------------------------------------------------------------------------------------------------


def padded(side):
    """Three sequences of 9, 6 and 3 tokens, and their mask."""
    ids, mask = torch.randint(3, 100, (3, 9), generator=torch.Generator().manual_seed(6)), torch.zeros(3, 9).long()
    for row, count in enumerate((9, 6, 3)):
        part = slice(9 - count, 9) if side == "left" else slice(0, count)
        mask[row, part] = 1
    return ids * mask, mask


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", MODELS)
def test_padded_sequences_are_as_in_float_and_alone(name, side):
    model, (ids, mask) = tiny_causal(*MODELS[name]), padded(side)
    with torch.no_grad():
        want = model.model(ids, attention_mask=mask).logits
        with replaced(model.model, Session(DENSE, TINY)):
            got = model.model(ids, attention_mask=mask).logits
    shown = mask.bool()
    assert close(got[shown], want[shown]) and not got[~shown].any()
    if name == "llama":
        for row in range(3):
            alone = model.logits(ids[row][shown[row]][None], Session(DENSE, TINY))
            assert close(got[row][shown[row]], alone[0])


@pytest.mark.parametrize("name", ["dense", "layer"])
def test_generation_of_a_padded_batch_is_that_of_each_sequence(name):
    model, (ids, mask) = tiny_causal(), padded("left")
    got = generated(model, ids, ALGORITHMS_TRIED[name], attention_mask=mask)
    beams = generated(model, ids, ALGORITHMS_TRIED[name], attention_mask=mask, num_beams=2)
    for row in range(3):
        alone = ids[row][mask[row].bool()][None]
        assert torch.equal(got[row, 9:], generated(model, alone, ALGORITHMS_TRIED[name])[0, alone.shape[1] :])
        want = generated(model, alone, ALGORITHMS_TRIED[name], num_beams=2)
        assert torch.equal(beams[row, 9:], want[0, alone.shape[1] :])


# Windows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOCAL)
def test_windows_hide_what_they_hide_in_float(name):
    model, traces = tiny_causal(*LOCAL[name]), []
    session = Session(DENSE, TINY, on_layer=traces.append, float_error=True)
    want, got = model.logits(IDS), model.logits(IDS, session)
    assert close(got, want) and all(trace.relative_error < 0.01 for trace in traces)
    assert torch.equal(generated(model, IDS), generated(model, IDS, None))
    with pytest.raises(ModelError, match="token_keep and head_keep must be 1 where a window or a packed text hides"):
        model.logits(IDS, Session(PRUNED, TINY))


def test_packed_texts_do_not_see_each_other():
    model, positions = tiny_causal(), torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]])
    with torch.no_grad():
        want = [model.model(part).logits for part in (IDS[:1, :4], IDS[:1, 4:])]
        with replaced(model.model, Session(DENSE, TINY)):
            got = model.model(IDS[:1], position_ids=positions, use_cache=False).logits
    assert close(got, torch.cat(want, 1))


# Refusals ------------------------------------------------------------------------------------------------------


def masks(rows):
    return torch.tensor(rows, dtype=torch.bool)[None, None]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"past_key_values": "float"}, "past_key_values must begin empty, not with 3 tokens of the model's own"),
        ({"past_key_values": "static"}, "past_key_values must be a DynamicCache, not StaticCache"),
        ({"past_key_values": "other"}, "a cache must be used with the session that filled it, not with another"),
        ({"attention_mask": torch.tensor([[0, 0, 0]])}, "attention_mask must show a token of each sequence, not hide"),
        ({"attention_mask": torch.ones(1, 4)}, r"attention_mask must be \(1, 3\), not \(1, 4\)"),
        (
            {"attention_mask": masks([[1, 0, 0], [1, 1, 0], [1, 0, 1]])},
            "LlamaAttention is not supported: its mask shows a query tokens that do not follow each other",
        ),
        (
            {"attention_mask": torch.tensor([[[[0.5, -9e9, -9e9], [0, 0, -9e9], [0, 0, 0]]]])},
            "LlamaAttention is not supported: its mask adds a bias to the scores",
        ),
        (
            {"attention_mask": masks([[1, 1, 0], [1, 1, 0], [1, 1, 1]])},
            "LlamaAttention is not supported: its mask shows a query other tokens than those up to itself",
        ),
        (
            {"attention_mask": masks([[1, 0, 0], [0, 0, 0], [1, 1, 1]])},
            "LlamaAttention is not supported: its mask hides every token of a query",
        ),
    ],
)
def test_what_is_refused(inputs, message):
    model, session = tiny_causal(), Session(DENSE, TINY)
    inputs = dict(inputs)
    if inputs.get("past_key_values") == "float":
        inputs["past_key_values"] = model.model(torch.tensor([[3, 4, 5]])).past_key_values
    if inputs.get("past_key_values") == "static":
        inputs["past_key_values"] = StaticCache(model.model.config, max_cache_len=9)
    with torch.no_grad():
        if inputs.get("past_key_values") == "other":
            with replaced(model.model, Session(DENSE, TINY)):
                inputs["past_key_values"] = model.model(IDS[:1]).past_key_values
        with pytest.raises(ModelError, match=message) as error, replaced(model.model, session):
            model.model(torch.tensor([[3, 4, 5]]), **inputs)
    assert "\n" not in str(error.value)


def test_a_window_that_only_the_cache_has_is_refused():
    """Moshi's masks show all tokens, and its cache drops those beyond its window."""
    model = tiny_causal(MoshiForCausalLM, MoshiConfig(**SIZES, num_key_value_heads=1, head_dim=16, sliding_window=12))
    assert torch.equal(generated(model, IDS, max_new_tokens=3, min_new_tokens=3)[:, 9:], model.generate(IDS, 3))
    assert close(model.logits(IDS.repeat(1, 2), Session(DENSE, TINY)), model.logits(IDS.repeat(1, 2)))
    message = "MoshiAttention is not supported: its cache keeps 12 tokens, and its mask shows 13: keep the text"
    with pytest.raises(ModelError, match=message):
        generated(model, IDS)


def test_bidirectional_attention_does_not_generate():
    model = tiny_causal(BertGenerationDecoder, BertGenerationConfig(**SIZES))
    assert close(model.logits(IDS, Session(DENSE, TINY)), model.logits(IDS))
    with pytest.raises(ModelError, match="its attention is bidirectional: tokens that follow would change those"):
        generated(model, IDS)


def test_a_call_that_failed_leaves_the_cache_as_it_was():
    model, fail = tiny_causal(), []
    session = Session(DENSE, TINY)
    execute = session.execute

    def sometimes(layer, config):
        if fail and layer.name == "layer 1":
            raise RuntimeError("no engine")
        return execute(layer, config)

    session.execute = sometimes
    with torch.no_grad(), replaced(model.model, session):
        cache = model.model(IDS).past_key_values
        fail.append(1)
        with pytest.raises(RuntimeError, match="no engine"):
            model.model(IDS[:, :1], past_key_values=cache)
        fail.clear()
        got = model.model(IDS[:, :1], past_key_values=cache).logits
        fresh = model.model(IDS).past_key_values
        assert torch.equal(got, model.model(IDS[:, :1], past_key_values=fresh).logits)


@pytest.mark.parametrize("name", ALGORITHMS_TRIED)
def test_a_call_that_fails_between_its_tokens_leaves_the_cache_as_it_was(name):
    """Its length and its positions, too; also where the user stopped it."""
    model, calls = tiny_causal(), []
    session = Session(ALGORITHMS_TRIED[name], TINY)
    execute = session.execute

    def sometimes(layer, config):
        calls.append(layer)
        if len(calls) == 3 + 4:  # layers of the prompt, of the first token, and one of the second
            raise KeyboardInterrupt
        return execute(layer, config)

    session.execute = sometimes
    with torch.no_grad(), replaced(model.model, session):
        cache = model.model(IDS[:1, :4]).past_key_values
        with pytest.raises(KeyboardInterrupt):
            model.model(IDS[:1, 4:8], past_key_values=cache)
        assert cache.get_seq_length() == 4
        got = model.model(IDS[:1, 4:], past_key_values=cache).logits
        fresh = model.model(IDS[:1, :4]).past_key_values
        assert torch.equal(got, model.model(IDS[:1, 4:], past_key_values=fresh).logits)


def test_padding_must_stay_where_it_was():
    model, (ids, mask) = tiny_causal(), padded("left")
    with torch.no_grad(), replaced(model.model, Session(DENSE, TINY)):
        cache = model.model(ids, attention_mask=mask).past_key_values
        longer = torch.ones(3, 10)
        with pytest.raises(ModelError, match="attention_mask must hide of the cache's tokens what it hid"):
            model.model(ids[:, :1], attention_mask=longer, past_key_values=cache)
        with pytest.raises(ModelError, match="batch must be the 3 sequences of the cache, not 2"):
            model.model(ids[:2, :1], past_key_values=cache)
