import json
import math

import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
)

from golden.bert import MODELS, ModelError, SentenceModel, find_model, golden_execute
from golden.quantize import AttentionSettings
from hdl.config import PRESETS
from sim.sentence import DEFAULT_SENTENCE
from tests.golden.tiny_models import SIZES, save_tiny_bert, tiny_model

TINY, PAPER = PRESETS["tiny"], PRESETS["paper"]
TEXT = "seven small words make up this sentence"
EXACT = AttentionSettings(key_bits=12, key_lsb_bits=0, value_bits=12)

ENCODERS = {
    "bert": (BertModel, BertConfig(**SIZES)),
    "roberta": (RobertaModel, RobertaConfig(**SIZES)),
    "albert": (AlbertModel, AlbertConfig(**SIZES, embedding_size=16)),
    "distilbert": (
        DistilBertModel,
        DistilBertConfig(vocab_size=100, dim=32, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=64),
    ),
}
IDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
OTHERS = {
    "decoder": (BertModel, BertConfig(**SIZES, is_decoder=True), "bert is not supported: it has a decoder"),
    "mpnet": (MPNetModel, MPNetConfig(**SIZES), "mpnet is not supported: transformers cannot replace its attention"),
    "gpt2": (
        GPT2Model,
        GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=2, n_positions=64, **IDS),
        "GPT2Attention is not supported: its attention is causal",
    ),
    "llama": (LlamaModel, LlamaConfig(**SIZES), "LlamaAttention is not supported: its attention is causal"),
    "modernbert": (
        ModernBertModel,
        ModernBertConfig(**SIZES, **IDS, cls_token_id=1, sep_token_id=2, local_attention=4),
        "ModernBertAttention is not supported: its mask hides tokens",
    ),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_every_layer_is_replaced(name):
    model = tiny_model(*ENCODERS[name])
    traces = []
    got = model.embed_with(TEXT, golden_execute(TINY), EXACT, TINY, on_layer=traces.append)
    want = model.embed(TEXT)
    assert float(want.norm()) == pytest.approx(1)
    assert float(want @ got) > 0.999999
    assert [trace.layer for trace in traces] == [0, 1]
    assert traces[1].out.shape == traces[1].want.shape == (2, 9, 16)
    assert 0 < traces[1].relative_error < 0.01 and traces[1].max_error < 0.01
    assert [job.name for job in traces[1].jobs] == ["layer 1 head 0", "layer 1 head 1"]


@pytest.mark.parametrize("name", OTHERS)
def test_other_architectures_are_refused(name):
    kind, config, message = OTHERS[name]
    with pytest.raises(ModelError, match=message) as error:
        tiny_model(kind, config).embed_with(TEXT, golden_execute(TINY), EXACT, TINY)
    assert "\n" not in str(error.value)


def test_original_attention_comes_back():
    """After a run, also one that failed, the model is what it was."""
    model = tiny_model()
    before = model.embed(TEXT)

    def fail(layer, jobs):
        raise RuntimeError("no engine")

    with pytest.raises(RuntimeError, match="no engine"):
        model.embed_with(TEXT, fail, EXACT, TINY)
    model.embed_with(TEXT, golden_execute(TINY), EXACT, TINY)
    assert model.model.config._attn_implementation == model.original
    assert torch.equal(model.embed(TEXT), before)


def test_executor_results_are_used():
    """Zeros in the place of attention change the embedding; the executor is asked layer by layer."""
    model, asked = tiny_model(), []
    golden = golden_execute(TINY)

    def zeros(layer, jobs):
        asked.append((layer, len(jobs)))
        results = golden(layer, jobs)
        for result in results:
            result.out.zero_()
        return results

    got = model.embed_with(TEXT, zeros, EXACT, TINY)
    assert asked == [(0, 2), (1, 2)]
    assert float(got @ model.embed(TEXT)) < 0.99999


def test_padding_is_refused():
    model = tiny_model()
    inputs = model.tokenize(TEXT)
    inputs["attention_mask"][0, -2:] = 0
    model.tokenize = lambda text: inputs
    with pytest.raises(ModelError, match="BertSelfAttention is not supported: its mask hides tokens"):
        model.embed_with(TEXT, golden_execute(TINY), EXACT, TINY)


def test_batch_is_refused():
    model = tiny_model()
    inputs = {name: value.repeat(2, 1) for name, value in model.tokenize(TEXT).items()}
    model.tokenize = lambda text: inputs
    with pytest.raises(ModelError, match="one sentence at a time, not a batch of 2"):
        model.embed_with(TEXT, golden_execute(TINY), EXACT, TINY)


def test_nan_weights_are_told():
    model = tiny_model()
    with torch.no_grad():
        model.model.encoder.layer[1].attention.self.value.weight[0, 0] = math.nan
    with pytest.raises(ModelError, match="cannot be quantized: layer 1 head 0 value must be finite"):
        model.embed_with(TEXT, golden_execute(TINY), EXACT, TINY)


def test_head_dimension_must_be_served():
    model = tiny_model(hidden_size=48)
    with pytest.raises(ModelError, match="random has heads of dimension 24; tiny serves 16, 32, 48, 64"):
        model.embed_with(TEXT, golden_execute(TINY), EXACT, TINY)


def test_token_limit():
    model = tiny_model(hidden_size=128)
    model.tokenizer.model_max_length = 10**30
    assert model.token_limit(TINY) == 32, "rows of 64 elements: half the buffer is for 32"
    assert model.token_limit(PAPER) == 64, "position embeddings"
    model.tokenizer.model_max_length = 20
    assert model.token_limit(TINY) == 20


def test_load_folder(tmp_path):
    model = SentenceModel.load(str(save_tiny_bert(tmp_path)))
    assert (model.num_layers, model.num_heads, model.dim) == (2, 2, 16)
    assert model.tokens("b a c") == ["[CLS]", "b", "a", "c", "[SEP]"]
    got = model.embed_with("b a c", golden_execute(TINY), EXACT, TINY)
    assert float(got @ model.embed("b a c")) > 0.999999


def test_find_model(tmp_path):
    inner = tmp_path / "small" / "package" / "model"
    (inner / "1_Pooling").mkdir(parents=True)
    (inner / "1_Pooling" / "config.json").write_text("{}")
    (tmp_path / "small" / "config.json").write_text('{"other": 1}')
    (inner / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert find_model("small", tmp_path) == str(inner)
    assert find_model(str(inner), tmp_path) == str(inner)
    assert find_model("owner/name", tmp_path) == "owner/name"
    with pytest.raises(ModelError, match="model 'minilm' is not there: run `spatten models` first"):
        find_model("minilm", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="model folder 'empty' has no config"):
        find_model("empty", tmp_path)
    (tmp_path / "empty" / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config.json of the model cannot be read"):
        find_model("empty", tmp_path)


def test_load_broken_folder(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "no such type"}')
    with pytest.raises(ModelError, match="cannot be loaded") as error:
        SentenceModel.load(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not (MODELS / "minilm").is_dir(), reason="needs `spatten models`")
def test_minilm_keeps_its_meaning():
    """The default settings: flat rows occur, and the embedding stays."""
    model = SentenceModel.load("minilm")
    assert len(model.tokens(DEFAULT_SENTENCE)) <= model.token_limit(TINY)
    traces = []
    got = model.embed_with(DEFAULT_SENTENCE, golden_execute(TINY), AttentionSettings(), TINY, on_layer=traces.append)
    assert float(got @ model.embed(DEFAULT_SENTENCE)) > 0.9995
    flat = sum(int(result.flat.sum()) for trace in traces for result in trace.results)
    assert 20 < flat < 400
