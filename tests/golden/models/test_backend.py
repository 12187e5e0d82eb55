"""Attention of transformers replaced by a session: decoders, encoders that shorten, and what is refused."""

import contextlib

import pytest
import torch
import transformers
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BloomConfig,
    BloomForCausalLM,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    EsmConfig,
    EsmModel,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2LMHeadModel,
    GptOssConfig,
    GptOssForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MobileBertConfig,
    MobileBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5ForConditionalGeneration,
)

from golden.host.algorithm import ALGORITHMS, Algorithm
from golden.host.session import Session
from golden.layers.run_layer import run_layer
from golden.models.backend import register, replaced
from golden.models.errors import ModelError
from hdl.spec.config import PRESETS
from tests.bench.tiny_models import GPT2, IDS, LLAMA, SIZES, tiny_causal, tiny_model

TINY, PAPER = PRESETS["tiny"], PRESETS["paper"]
TEXT = "seven small words make up this sentence"
DENSE = ALGORITHMS["dense"]
HALF = Algorithm(attention=DENSE.attention, token_keep=(1.0, 0.5), pin_first=1)
GQA = dict(num_key_value_heads=1)

DECODERS = {
    "llama": (type(tiny_causal().model), LLAMA),
    "gpt2": (GPT2LMHeadModel, GPT2),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SIZES, **GQA)),
    "mistral": (MistralForCausalLM, MistralConfig(**SIZES, **GQA, head_dim=16, sliding_window=4096)),
}
ENCODERS = {
    "bert": (BertModel, BertConfig(**SIZES)),
    "roberta": (RobertaModel, RobertaConfig(**SIZES)),
    "esm": (EsmModel, EsmConfig(**SIZES, pad_token_id=0, mask_token_id=99)),
    "electra": (ElectraModel, ElectraConfig(**SIZES, embedding_size=32)),
    "albert": (AlbertModel, AlbertConfig(**SIZES, embedding_size=16)),
    "distilbert": (
        DistilBertModel,
        DistilBertConfig(vocab_size=100, dim=32, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=64),
    ),
    "modernbert": (
        ModernBertModel,
        ModernBertConfig(**SIZES, **IDS, cls_token_id=1, sep_token_id=2, layer_types=["full_attention"] * 2),
    ),
}


def headed(heads):
    """Parameters (family, head) of all encoders with all of these heads that transformers has."""
    names = [(name, head) for name in ENCODERS for head in heads]
    return pytest.mark.parametrize(("name", "head"), [pair for pair in names if hasattr(transformers, head_of(*pair))])


def head_of(name, head):
    """transformers' name of a family's model with a head."""
    return ENCODERS[name][0].__name__.replace("Model", head)


def session(algorithm=DENSE, config=TINY, **options):
    return Session(algorithm, config, **options)


@pytest.mark.parametrize("name", DECODERS)
def test_decoder_is_close_to_float(name):
    model = tiny_causal(*DECODERS[name])
    ids = torch.randint(3, 100, (2, 14), generator=torch.Generator().manual_seed(3))
    want, got = model.logits(ids), model.logits(ids, session())
    assert (got - want).norm() / want.norm() < 0.01
    state = session()
    want, got = model.teacher_forced(ids, 10), model.teacher_forced(ids, 10, state)
    assert got == pytest.approx(want, abs=0.05) and (want < -1).all()
    assert state.num_tokens == 13 and state.generation.rows == 2 * 3 * model.num_layers * model.num_heads


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_is_close_to_float(name):
    model, traces = tiny_model(*ENCODERS[name]), []
    want = model.embed(TEXT)
    got = model.embed(TEXT, session(on_layer=traces.append, float_error=True))
    assert float(want.norm()) == pytest.approx(1)
    assert float(want @ got) > 0.999999
    assert [trace.layer for trace in traces] == [0, 1]
    assert 0 < traces[1].relative_error < 0.01


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_drops_its_pruned_tokens(name):
    """Feed-forward layers and later attention get the survivors only, with their own positions."""
    model, state = tiny_model(*ENCODERS[name]), session(HALF)
    seen, layers = [], state.execute

    def execute(layer, config):
        seen.append((layer.num_queries, layer.ids.tolist()))
        return layers(layer, config)

    state.execute = execute
    got = model.embed([TEXT, "an other sentence of seven words ends"], state)
    assert [queries for queries, _ in seen] == [9, 5]
    assert seen[1][1] == state.alive.tolist() and state.alive.shape == (2, 5)
    assert (state.alive[:, 0] == 0).all(), "pinned"
    assert got.shape == (2, 32) and not torch.allclose(
        got, model.embed([TEXT, "an other sentence of seven words ends"])
    )


@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_survivors_compute_what_they_would_without_the_others(name):
    """The second layer's states of the survivors are those of dense attention among them."""
    model, state = tiny_model(*ENCODERS[name]), session(HALF)
    inputs = torch.tensor([model.encode(TEXT)])
    kept = {}
    layers = model.model.encoder.layer if name == "bert" else model.model.layers

    def keep(module, args, kwargs, output):
        states = args[0] if args else kwargs["hidden_states"]
        kept["in"], kept["out"], kept["kwargs"] = states, output, kwargs

    handle = layers[1].register_forward_hook(keep, with_kwargs=True)
    with torch.no_grad(), replaced(model.model, state):
        model.model(input_ids=inputs)
    handle.remove()
    assert kept["in"].shape == (1, 5, 32) and kept["out"].shape == (1, 9, 32)
    options = {"position_embeddings": kept["kwargs"]["position_embeddings"]} if name == "modernbert" else {}
    with torch.no_grad():
        want = layers[1](kept["in"], attention_mask=None, **options)
    want = want if isinstance(want, torch.Tensor) else want[0]
    assert torch.allclose(kept["out"][:, state.alive[0]], want, atol=0.01)


def test_original_attention_comes_back():
    """After a run, also one that failed, the model is what it was."""
    model = tiny_model()
    original, before = model.model.config._attn_implementation, model.embed(TEXT)

    def fail(layer, config):
        raise RuntimeError("no engine")

    with pytest.raises(RuntimeError, match="no engine"):
        model.embed(TEXT, session(HALF, execute=fail))
    model.embed(TEXT, session(HALF))
    assert model.model.config._attn_implementation == original
    assert torch.equal(model.embed(TEXT), before)


def test_results_of_the_executor_are_used():
    model, asked = tiny_model(), []

    def zeros(layer, config):
        asked.append(layer.name)
        outcome = run_layer(layer, config)
        outcome.out.zero_()
        return outcome

    got = model.embed(TEXT, session(execute=zeros))
    assert asked == ["layer 0", "layer 1"]
    assert float(got @ model.embed(TEXT)) < 0.99999


REFUSED = {
    "soft cap": (
        Gemma2ForCausalLM,
        Gemma2Config(**SIZES, **GQA, head_dim=16, layer_types=["full_attention"] * 2),
        r"Gemma2Attention is not supported: its attention needs a soft cap of its scores \('softcap'\)",
    ),
    "sinks": (
        GptOssForCausalLM,
        GptOssConfig(**SIZES, **GQA, head_dim=16, num_local_experts=2, layer_types=["full_attention"] * 2),
        r"GptOssAttention is not supported: its attention needs attention sinks \('s_aux'\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_attention_that_is_refused(name):
    kind, config, message = REFUSED[name]
    with pytest.raises(ModelError, match=message) as error:
        tiny_causal(kind, config).logits(torch.arange(3, 9)[None], session())
    assert "\n" not in str(error.value)


def test_an_argument_that_is_not_known_is_refused():
    """Such as a new kind of bias; indices and flags are harmless, and every model passes some."""
    model = tiny_causal().model
    with torch.no_grad(), replaced(model, session()):
        model(input_ids=torch.arange(3, 9)[None], counts=torch.ones(2, dtype=torch.int64))
        with pytest.raises(ModelError, match="its attention is given 'tilt', which this one does not know"):
            model(input_ids=torch.arange(3, 9)[None], tilt=torch.ones(6))


MODELS_REFUSED = {
    "cross attention": (
        BertModel,
        BertConfig(**SIZES, is_decoder=True, add_cross_attention=True),
        "bert is not supported: it has cross attention",
    ),
    "relative positions": (
        BertModel,
        BertConfig(**SIZES, position_embedding_type="relative_key"),
        r"bert is not supported: its attention adds a bias by position \(relative_key\)",
    ),
    "alibi": (BertModel, BertConfig(**SIZES, alibi=True), r"bert is not supported: .* a bias by distance \(ALiBi\)"),
    "bloom": (BloomForCausalLM, BloomConfig(vocab_size=9, hidden_size=16, n_layer=1, n_head=1), "cannot replace its"),
    "mpnet": (MPNetModel, MPNetConfig(**SIZES), "mpnet is not supported: transformers cannot replace its attention"),
    "t5": (
        T5ForConditionalGeneration,
        T5Config(vocab_size=9, d_model=16, num_layers=1, num_heads=1, d_ff=8, decoder_start_token_id=0),
        "t5 is not supported: encoder-decoder models have cross attention",
    ),
}


@pytest.mark.parametrize("name", MODELS_REFUSED)
def test_model_that_is_refused(name):
    kind, config, message = MODELS_REFUSED[name]
    with pytest.raises(ModelError, match=message) as error:
        tiny_model(kind, config)
    assert "\n" not in str(error.value)


def test_local_layers_of_an_encoder():
    """Rows of ModernBERT's local layers attend their neighbours only; nothing may be pruned there."""
    config = ModernBertConfig(**SIZES, **IDS, cls_token_id=1, sep_token_id=2, local_attention=4)
    model, traces = tiny_model(ModernBertModel, config), []
    got = model.embed(TEXT, session(on_layer=traces.append, float_error=True))
    assert float(model.embed(TEXT) @ got) > 0.999999
    assert all(trace.relative_error < 0.01 for trace in traces)
    with pytest.raises(ModelError, match="its mask hides tokens, where no token may be pruned: set token_keep to 1"):
        model.embed(TEXT, session(HALF))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ENCODERS)
def test_padded_sentences_are_as_in_float(name, side):
    model = tiny_model(*ENCODERS[name])
    mask = torch.ones(2, 9, dtype=torch.int64)
    mask[1, -3:] = 0
    mask = mask if side == "right" else mask.flip(1)
    ids = torch.randint(3, 100, (2, 9), generator=torch.Generator().manual_seed(8)) * mask
    with torch.no_grad():
        want = model.model(input_ids=ids, attention_mask=mask).last_hidden_state
        with replaced(model.model, session()):
            got = model.model(input_ids=ids, attention_mask=mask).last_hidden_state
    shown = mask.bool()
    assert (got[shown] - want[shown]).norm() / want[shown].norm() < 0.01 and not got[~shown].any()


def test_survivors_of_a_padded_batch_are_not_told():
    """They are not equally many in all sequences; those of the last length would be taken for all."""
    model, mask, mine = tiny_model(*ENCODERS["bert"]).model, torch.ones(2, 9, dtype=torch.int64), session()
    mask[1, -3:] = 0
    with torch.no_grad(), replaced(model, mine):
        model(input_ids=torch.full((2, 9), 5), attention_mask=mask)
    with pytest.raises(ValueError, match=r"session must have sequences of one length: .* or the last had padding"):
        _ = mine.alive


def test_probabilities_are_refused():
    model = tiny_model(*ENCODERS["bert"]).model
    with (
        torch.no_grad(),
        replaced(model, session()),
        pytest.raises(ModelError, match="output_attentions must be False"),
    ):
        model(input_ids=torch.full((1, 9), 5), output_attentions=True)


def test_padding_that_an_embedding_reads_is_refused():
    """MobileBERT's embedding of a token has the neighbours' in it."""
    config = MobileBertConfig(**SIZES, embedding_size=32, intra_bottleneck_size=32)
    model, mask = MobileBertModel(config).eval(), torch.ones(1, 5)
    with torch.no_grad(), replaced(model, session()):
        model(torch.arange(3, 8)[None], attention_mask=mask)
        mask[0, 4] = 0
        with pytest.raises(ModelError, match="hide nothing from mobilebert, whose embedding reads padding") as error:
            model(torch.arange(3, 8)[None], attention_mask=mask)
    assert "\n" not in str(error.value)


def test_layers_that_are_not_replaced_are_told():
    """A model of which some layers have no attention of this kind."""
    model = tiny_model(num_hidden_layers=3)
    model.model.encoder.layer[1].attention = _Nothing()
    with pytest.raises(ModelError, match="bert is not supported: 2 of 3 layers were replaced"):
        model.embed(TEXT, session())


class _Nothing(torch.nn.Module):
    def forward(self, states, *args, **kwargs):
        return states, None


def test_encoder_without_a_list_of_layers():
    model = tiny_model()
    model.model.encoder.layer = torch.nn.ModuleList([*model.model.encoder.layer, torch.nn.Identity()])
    with pytest.raises(ModelError, match="bert is not supported: it has no list of 2 layers"):
        model.embed(TEXT, session(HALF))


def test_session_of_another_model():
    with pytest.raises(ModelError, match="num_layers of the session must be the model's 2, not 5"):
        tiny_model().embed(TEXT, session(num_layers=5))


def test_errors_of_the_session_are_errors_of_the_model():
    with pytest.raises(ModelError, match="token_keep must have a ratio for each of 2 layers, not 1") as error:
        tiny_model().embed(TEXT, session(Algorithm(token_keep=(0.5,))))
    assert "\n" not in str(error.value)


def test_attention_needs_a_session():
    model = tiny_model()
    register()
    model.model.set_attn_implementation("spatten")
    with pytest.raises(ModelError, match="attention 'spatten' needs a session"):
        model.embed(TEXT)


@pytest.mark.parametrize("make", [tiny_model, tiny_causal])
def test_training_is_refused(make):
    """In training mode, and where a gradient is wanted of what attention has computed."""
    model = make().model
    ids = torch.arange(3, 9)[None]
    training = "model must be in evaluation mode, which model.eval() sets: this attention drops nothing"
    gradient = "must need no gradient, as there is none: use torch.no_grad(), or detach it"
    for mode, grad, message in ((True, False, training), (True, True, training), (False, True, gradient)):
        model.train(mode)
        with torch.set_grad_enabled(grad), replaced(model, session()), pytest.raises(ModelError) as error:
            model(input_ids=ids)
        assert message in str(error.value) and "\n" not in str(error.value)
    want = None
    for context in (torch.no_grad(), torch.inference_mode(), contextlib.nullcontext()):
        with context, replaced(model, session()):
            got = model(input_ids=ids)[0]
        want = got if want is None else want
        assert torch.equal(got, want) and not got.requires_grad
        model.requires_grad_(False)


def test_a_head_may_be_trained():
    """On the states of an encoder that needs no gradient: the head's is right."""
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(**SIZES)).eval()
    model.bert.requires_grad_(False)
    ids = torch.arange(3, 9)[None]
    with replaced(model, session()):
        got = model(input_ids=ids, labels=torch.tensor([1])).loss
    want = model(input_ids=ids, labels=torch.tensor([1])).loss
    ours, float_ones = (torch.autograd.grad(loss, model.classifier.weight)[0] for loss in (got, want))
    assert (ours - float_ones).norm() / float_ones.norm() < 0.01
