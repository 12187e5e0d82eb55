import json
import math
import re

import gguf
import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    GPT2LMHeadModel,
    GPT2Model,
    RobertaModel,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTModel,
    XLMRobertaModel,
)

from golden.host.algorithm import ALGORITHMS, Algorithm, Schedule
from golden.host.session import Session
from golden.layers.quantize import AttentionSettings
from golden.models import load
from golden.models.load import MODELS, CausalModel, ModelError, SentenceModel, find_model, load_model
from hdl.spec.config import PRESETS
from tests.bench.tiny_models import GPT2, LLAMA, SIZES, save_tiny_bert, save_tiny_causal, tiny_causal, tiny_model

TINY, PAPER = PRESETS["tiny"], PRESETS["paper"]
TEXT = "seven small words make up this sentence"
SENTENCE = "A small accelerator skips the words that do not matter and still reads the sentence as well as before."
DENSE = ALGORITHMS["dense"]


# Encoders ------------------------------------------------------------------------------------------------------


def test_embeddings_of_a_batch():
    model, texts = tiny_model(), [TEXT, "an other sentence of seven words ends"]
    for session in (None, Session(DENSE, TINY)):
        together = model.embed(texts, session)
        assert together.shape == (2, 32)
        for text, row in zip(texts, together, strict=True):
            assert torch.allclose(model.embed(text, session), row, atol=1e-5)


def test_a_session_serves_text_after_text():
    model, session = tiny_model(), Session(Algorithm(token_keep=(1.0, 0.5)), TINY)
    first = model.embed(TEXT, session)
    model.embed("short", session)
    assert torch.equal(model.embed(TEXT, session), first)


def test_texts_of_unequal_length():
    with pytest.raises(ModelError, match="texts must have equally many tokens, not 9, 4"):
        tiny_model().embed([TEXT, "two words"])


def test_nan_weights_are_told():
    model = BertModel(BertConfig(**SIZES))
    with torch.no_grad():
        model.encoder.layer[1].attention.self.value.weight[0, 0] = math.nan
        model.encoder.layer[1].attention.self.value.weight[0, 1] = math.inf
    message = "weights must be finite, not NaN or infinite in 2 of 1024 of encoder.layer.1.attention.self.value.weight"
    with pytest.raises(ModelError, match=re.escape(message)):
        SentenceModel(model, None, name="broken")


@pytest.mark.parametrize(
    ("fields", "config", "message"),
    [
        ({"hidden_size": 160}, TINY, r"random: head dimension must be from 1 to 64 \(tiny\), not 80"),
        ({"hidden_size": 640, "num_attention_heads": 40}, PAPER, r"random: heads must be at most 32 \(paper\), not 40"),
    ],
)
def test_heads_must_be_served(fields, config, message):
    model = tiny_model(**fields)
    with pytest.raises(ModelError, match=message):
        model.check(config)
    with pytest.raises(ModelError, match=message):
        model.embed(TEXT, Session(DENSE, config))


def test_token_limit():
    model = tiny_model(hidden_size=128)
    model.tokenizer.model_max_length = 10**30
    assert model.token_limit(TINY) == 32, "rows of 64 elements: half the buffer is for 32"
    assert model.token_limit(PAPER) == 64, "position embeddings"
    model.tokenizer.model_max_length = 20
    assert model.token_limit(TINY) == 20
    with pytest.raises(ModelError, match=r"tokens must be at most 20 \(tiny\), not 22"):
        model.embed("word " * 20, Session(DENSE, TINY))


# Language models -----------------------------------------------------------------------------------------------


def test_teacher_forced_is_the_probability_of_the_text():
    model = tiny_causal()
    ids = torch.randint(3, 100, (3, 12), generator=torch.Generator().manual_seed(0))
    chances = model.logits(ids).double().log_softmax(-1)
    want = torch.stack([chances[:, at - 1].gather(1, ids[:, at : at + 1])[:, 0] for at in range(8, 12)]).sum(0)
    assert torch.allclose(model.teacher_forced(ids, 8), want, atol=1e-4)
    session = Session(DENSE, TINY)
    assert torch.allclose(model.teacher_forced(ids, 8, session), want, atol=0.1)
    assert session.prompt.rows == 3 * 3 * 4 * 8 and session.generation.rows == 3 * 3 * 4 * 3


@pytest.mark.parametrize("context", [0, 12])
def test_context_must_leave_tokens(context):
    with pytest.raises(ModelError, match=f"context must be from 1 to 11 of 12 tokens, not {context}"):
        tiny_causal().teacher_forced(torch.ones(1, 12, dtype=torch.int64), context)


@pytest.mark.parametrize(("kind", "config"), [(type(tiny_causal().model), LLAMA), (GPT2LMHeadModel, GPT2)])
def test_generate(kind, config):
    """The same tokens as transformers' own greedy search; pruning mildly, a batch as one by one."""
    model = tiny_causal(kind, config)
    ids = torch.randint(3, 100, (2, 9), generator=torch.Generator().manual_seed(1))
    options = dict(do_sample=False, max_new_tokens=6, min_new_tokens=6, pad_token_id=0)
    want = model.model.generate(ids, attention_mask=torch.ones_like(ids), **options)[:, 9:]
    assert torch.equal(model.generate(ids, 6), want)
    assert torch.equal(model.generate(ids, 6, Session(DENSE, TINY)), want)
    pruned = Algorithm(scope="layer", token_keep=Schedule(start=0.6, end=0.4), pin_first=1)
    session = Session(pruned, TINY)
    together = model.generate(ids, 6, session)
    assert session.num_tokens == 14 and session.generation.macs < session.generation.dense_macs
    alone = torch.cat([model.generate(row[None], 6, session) for row in ids])
    assert torch.equal(together, alone)


def test_too_many_tokens_are_told_before_the_run():
    with pytest.raises(ModelError, match=r"tokens must be at most 40 \(tiny\), not 41"):
        tiny_causal().generate(torch.ones(1, 40, dtype=torch.int64), 2, Session(DENSE, TINY))


def test_group_must_be_served():
    model = tiny_causal(
        config=type(LLAMA)(**(SIZES | dict(hidden_size=144, num_attention_heads=9)), num_key_value_heads=1)
    )
    assert (model.num_heads, model.num_kv_heads, model.dim) == (9, 1, 16)
    with pytest.raises(ModelError, match=r"random: heads that share a K/V head must be at most 8 \(tiny\), not 9"):
        model.check(TINY)


# Loading -------------------------------------------------------------------------------------------------------


def test_load_encoder(tmp_path, capfd):
    save_tiny_bert(tmp_path)
    capfd.readouterr()
    model = load_model(str(tmp_path))
    assert isinstance(model, SentenceModel)
    assert (model.num_layers, model.num_heads, model.num_kv_heads, model.dim) == (2, 2, 2, 16)
    assert model.tokens("b a c") == ["[CLS]", "b", "a", "c", "[SEP]"]
    assert float(model.embed("b a c", Session(DENSE, TINY)) @ model.embed("b a c")) > 0.999999
    assert SentenceModel.load(str(tmp_path)).name == str(tmp_path)
    with pytest.raises(ModelError, match="bert does not generate text: it is an encoder"):
        CausalModel.load(str(tmp_path))
    assert "".join(capfd.readouterr()) == "", "no progress bars"


@pytest.mark.parametrize(("kind", "config"), [(type(tiny_causal().model), LLAMA), (GPT2LMHeadModel, GPT2)])
def test_load_language_model(tmp_path, kind, config, capfd):
    save_tiny_causal(tmp_path, kind, config)
    capfd.readouterr()
    model = load_model(str(tmp_path))
    assert isinstance(model, CausalModel)
    assert (model.num_layers, model.num_heads, model.dim) == (3, 4, 16)
    ids = model.encode("a b c")
    assert ids == [1, 2, 3] and model.tokens("a b c") == ["a", "b", "c"] and model.decode(ids) == "a b c"
    assert torch.equal(model.logits(torch.tensor([ids])), tiny_causal(kind, config).logits(torch.tensor([ids])))
    assert CausalModel.load(str(tmp_path)).num_layers == 3
    with pytest.raises(ModelError, match=f"{config.model_type} is not an encoder: it generates text"):
        SentenceModel.load(str(tmp_path))
    assert "".join(capfd.readouterr()) == "", "no progress bars"


def test_the_kind_does_not_depend_on_the_class_that_was_saved(tmp_path):
    save_tiny_causal(tmp_path, GPT2LMHeadModel, GPT2)
    torch.manual_seed(0)
    GPT2Model(GPT2).save_pretrained(tmp_path)
    assert isinstance(load_model(str(tmp_path)), CausalModel)


def test_encoder_decoder_is_refused(tmp_path):
    config = T5Config(vocab_size=9, d_model=16, num_layers=1, num_heads=1, d_ff=8, decoder_start_token_id=0)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="t5 is not supported: encoder-decoder models have cross attention"):
        load_model(str(tmp_path))


def test_nan_in_a_folder(tmp_path):
    save_tiny_bert(tmp_path)
    model = AutoModel.from_pretrained(tmp_path)
    with torch.no_grad():
        model.embeddings.LayerNorm.bias[3] = math.nan
    model.save_pretrained(tmp_path)
    with pytest.raises(
        ModelError, match=r"weights must be finite, not NaN or infinite in 1 of 32 of embeddings\.Layer"
    ):
        load_model(str(tmp_path))


def test_find_model(tmp_path):
    inner = tmp_path / "small" / "package" / "model"
    (inner / "1_Pooling").mkdir(parents=True)
    (inner / "1_Pooling" / "config.json").write_text("{}")
    (tmp_path / "small" / "config.json").write_text('{"other": 1}')
    (inner / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert find_model("small", tmp_path) == str(inner)
    assert find_model(str(inner), tmp_path) == str(inner)
    assert find_model("owner/name", tmp_path) == "owner/name"
    for name in ("minilm", "smollm2"):
        with pytest.raises(ModelError, match=f"model '{name}' is not there: run `spatten models` first"):
            find_model(name, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="model folder 'empty' has no config"):
        find_model("empty", tmp_path)
    (tmp_path / "empty" / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config.json of the model cannot be read"):
        find_model("empty", tmp_path)


def test_find_gguf(tmp_path):
    with pytest.raises(ModelError, match=r"model file '.*none.gguf' does not exist"):
        find_model(str(tmp_path / "none.gguf"))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    assert find_model(str(broken)) == str(broken)
    with pytest.raises(ModelError, match=r"model '.*broken.gguf' cannot be loaded") as error:
        load_model(str(broken))
    assert "\n" not in str(error.value)


def write_gguf(path, architecture, *, dim):
    """One layer of two heads that share K and V, random."""
    sizes = dict(block_count=1, context_length=64, embedding_length=64, feed_forward_length=32, head_count=2)
    sizes |= dict(head_count_kv=1, key_length=dim, value_length=dim, rope_freq_base=10000.0, layer_norm_rms_eps=1e-5)
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in sizes.items():
        getattr(writer, f"add_{name}")(value)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["?", "<s>", "</s>", "a", "b", "ab"])
    writer.add_token_types([2, 3, 3, 1, 1, 1])
    writer.add_token_merges(["a b"])
    generator = np.random.default_rng(0)
    shapes = {"token_embd": (6, 64), "output": (6, 64), "output_norm": (64,)}
    layer = {"attn_norm": (64,), "attn_q": (2 * dim, 64), "attn_k": (dim, 64), "attn_v": (dim, 64)}
    layer |= {"attn_output": (64, 2 * dim), "attn_q_norm": (dim,), "attn_k_norm": (dim,), "ffn_norm": (64,)}
    layer |= {"ffn_gate": (32, 64), "ffn_up": (32, 64), "ffn_down": (64, 32)}
    for name, shape in (shapes | {f"blk.0.{name}": shape for name, shape in layer.items()}).items():
        tensor = np.ones(shape) if len(shape) == 1 else generator.standard_normal(shape) / 4
        writer.add_tensor(f"{name}.weight", tensor.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_gguf_of_a_head_dimension_that_transformers_does_not_read(tmp_path):
    """Of Qwen3 it takes 128 whatever the file says."""
    write_gguf(tmp_path / "small.gguf", "qwen3", dim=16)
    model = load_model(str(tmp_path / "small.gguf"))
    assert model.dim == model.model.config.head_dim == 16
    ids = torch.tensor([[3, 4, 5, 3]])
    assert torch.equal(model.generate(ids, 3, Session(DENSE, TINY)), model.generate(ids, 3))


@pytest.mark.parametrize("name", ["a/b/c", "./a", "../a", "/a/b", "~/a", "a/"])
def test_a_folder_that_is_not_there(name, tmp_path, monkeypatch):
    """Not told as a name of the hub that has a wrong form."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=f"^model folder '{name}' does not exist$"):
        find_model(name, tmp_path / "models")
    assert find_model("an-owner/a.name", tmp_path / "models") == "an-owner/a.name"


def test_a_model_that_reads_no_text(tmp_path):
    sizes = {name: SIZES[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    ViTModel(ViTConfig(**sizes, intermediate_size=32, image_size=8, patch_size=4)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"^vit is not supported: it reads pixel_values, not text$"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("kind", [RobertaModel, XLMRobertaModel])
def test_positions_that_begin_after_a_row_for_padding(kind):
    """Of 34 rows, 32 are for tokens."""
    config = kind.config_class(**(SIZES | dict(max_position_embeddings=34, pad_token_id=1)))
    model = tiny_model(kind, config)
    assert model.token_limit(TINY) == 32
    embedding, ids = model.model.get_input_embeddings(), torch.full((1, 33), 5)
    model.model(inputs_embeds=embedding(ids[:, :32]))
    with pytest.raises((IndexError, RuntimeError)):
        model.model(input_ids=ids)
    with pytest.raises(ModelError, match=r"tokens must be at most 32 \(tiny\), not 33"):
        model.embed("a " * 31, Session(DENSE, TINY))


def test_a_causal_encoder_keeps_its_tokens():
    """CLIP's text model: later tokens are hidden, but it generates nothing."""
    config = CLIPTextConfig(**SIZES, bos_token_id=1, eos_token_id=2)
    model = tiny_model(CLIPTextModel, config)
    assert torch.allclose(model.embed(TEXT, Session(DENSE, TINY)), model.embed(TEXT), atol=1e-2)
    message = "^attention must not be causal for tokens of an encoder to be pruned: keep all$"
    with pytest.raises(ModelError, match=message):
        model.embed(TEXT, Session(Algorithm(token_keep=(1.0, 0.5)), TINY))


@pytest.mark.parametrize("count", [0, -1])
def test_nothing_is_generated(count):
    with pytest.raises(ModelError, match=rf"^count must be at least 1, not {count}: logits\(\) runs a prompt alone$"):
        tiny_causal().generate(torch.ones(1, 4, dtype=torch.int64), count)


def test_load_broken_folder(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "no such type"}')
    with pytest.raises(ModelError, match="cannot be loaded") as error:
        load_model(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_name_that_is_no_folder(tmp_path, monkeypatch):
    """The hub is not the first thing that the user of a folder thinks of."""

    def fail(transformers, source):
        raise OSError("no network\nmore")

    monkeypatch.setattr(load, "_configuration", fail)
    with pytest.raises(ModelError, match=r"^model 'mine' is no folder or .gguf file here, and no hub gives it: no net"):
        load_model("mine", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match=f"^model '{tmp_path}' cannot be loaded: no network$"):
        load_model(str(tmp_path))


# Real weights --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (MODELS / "minilm").is_dir(), reason="needs `spatten models`")
def test_minilm_keeps_its_meaning():
    """The default settings: flat rows occur, and the embedding stays; also with fewer and fewer tokens."""
    model = SentenceModel.load("minilm")
    assert len(model.encode(SENTENCE)) <= model.token_limit(TINY)
    session = Session(Algorithm(), TINY)
    dense = model.embed(SENTENCE)
    assert float(model.embed(SENTENCE, session) @ dense) > 0.9995
    assert 20 < session.prompt.flat_rows < 400
    pruned = Session(Algorithm(token_keep=Schedule(start=0.9, end=0.5), pin_first=1), TINY)
    assert float(model.embed(SENTENCE, pruned) @ dense) > 0.9
    assert pruned.prompt.traffic.total < 0.8 * session.prompt.traffic.total


@pytest.mark.skipif(not (MODELS / "smollm2").is_dir(), reason="needs `spatten models`")
def test_smollm2_goes_on_as_it_would():
    model = CausalModel.load("smollm2")
    ids = torch.tensor([model.encode("The capital of France is Paris. The capital of Italy is")])
    assert model.decode(model.generate(ids, 5)[0]) == " Rome. The capital of"
    session = Session(Algorithm(), PAPER)
    assert model.decode(model.generate(ids, 5, session)[0]) == " Rome. The capital of"
    assert session.generation.flat_rows > 0
    settings = AttentionSettings(key_bits=6, value_bits=6)
    pruned = Session(Algorithm(attention=settings, scope="layer", token_keep=Schedule(start=0.9, end=0.6)), PAPER)
    assert model.decode(model.generate(ids, 2, pruned)[0]).startswith(" Rome")
    assert pruned.generation.traffic.total < 0.75 * session.generation.traffic.total / 4
