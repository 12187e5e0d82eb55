"""Folders and files whose weights or tokenizer are not those of their configuration, and heads that need no place."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
)

from golden.models.load import ModelError, convert_gguf, load_model
from tests.bench.tiny_gguf import save_tiny_gguf
from tests.bench.tiny_models import GPT2, LLAMA, SIZES, save_letters, save_tiny_bert, save_tiny_causal
from tests.golden.models.test_backend import DECODERS, ENCODERS, head_of, headed

LACKS = "lacks weights that its configuration has: "
SHAPE = "has weights of another shape than its configuration: "
PLACE = "has weights that its configuration has no place for: "
HEADS = ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
BERT = BertConfig(**SIZES)


def weights(folder, change):
    """The folder after ``change`` of its weights by name."""
    found = load_file(folder / "model.safetensors")
    change(found)
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def fields(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def refusal(source):
    """What it says, without its beginning."""
    with pytest.raises(ModelError) as error:
        load_model(str(source))
    text, start = str(error.value), f"model {str(source)!r} "
    assert text.startswith(start) and "\n" not in text
    return text.removeprefix(start)


# Weights -------------------------------------------------------------------------------------------------------


@headed(HEADS)
def test_heads_of_an_encoder_need_no_place(tmp_path, name, head):
    """The encoder is the one that was saved, and what the head needs of it is there; no pooler is a random one."""
    config = ENCODERS[name][1]
    whole = getattr(transformers, head_of(name, head))(config).eval()
    whole.save_pretrained(save_letters(tmp_path))
    model = load_model(str(tmp_path))
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        got, want = model.model(ids), whole.base_model(ids)
    assert torch.equal(got.last_hidden_state, want.last_hidden_state)
    pooled = getattr(whole.base_model, "pooler", None) is not None
    assert (getattr(model.model, "pooler", None) is not None) == pooled
    assert pooled or got.get("pooler_output") is None
    weights(
        tmp_path,
        lambda found: found.pop(next(key for key in found if key.split(".")[-2] in ("query", "q_lin", "Wqkv"))),
    )
    assert refusal(tmp_path).startswith(LACKS)


@pytest.mark.parametrize("name", DECODERS)
def test_every_weight_is_needed(tmp_path, name):
    kind, config = DECODERS[name]
    save_tiny_causal(tmp_path, kind, config)
    assert load_model(str(tmp_path)).num_layers == config.num_hidden_layers
    whole = load_file(tmp_path / "model.safetensors")
    for key in (key for key in whole if ".1." not in key and ".2." not in key):
        weights(tmp_path, lambda found, key=key: found.pop(key))
        tied = "lm_head.weight, " if name == "gpt2" and "wte" in key else ""
        assert refusal(tmp_path) == LACKS + tied + key
        short = whole[key][:-1].clone()
        weights(tmp_path, lambda found, key=key, short=short: found.update({key: short}))
        message = f"{key} is {tuple(short.shape)}, not {tuple(whole[key].shape)}"
        assert refusal(tmp_path) == SHAPE + message
        weights(tmp_path, lambda found, key=key: found.update({key: whole[key]}))
    load_model(str(tmp_path))


def test_pooler_in_parts_is_taken_out(tmp_path):
    weights(save_tiny_bert(tmp_path), lambda found: found.pop("pooler.dense.bias"))
    assert load_model(str(tmp_path)).model.pooler is None


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_another_number_of_layers(tmp_path, kind):
    """6 where the configuration has 12, and 12 where it has 6, whether a head lies beside the encoder or not."""
    kind(BertConfig(**SIZES | {"num_hidden_layers": 6})).save_pretrained(save_tiny_bert(tmp_path))
    fields(tmp_path, num_hidden_layers=12)
    names = "encoder.layer.6.attention.output.LayerNorm.bias, encoder.layer.6.attention.output.LayerNorm.weight, "
    names += "encoder.layer.6.attention.output.dense.bias"
    assert refusal(tmp_path) == f"{LACKS}{names} and 93 more"
    fields(tmp_path, num_hidden_layers=3)
    message = refusal(tmp_path)
    assert message.startswith(PLACE) and "encoder.layer.3.attention" in message and message.endswith(" and 45 more")


@pytest.mark.parametrize(("kind", "config"), [(LlamaForCausalLM, LLAMA), (GPT2LMHeadModel, GPT2)])
def test_another_number_of_layers_of_a_language_model(tmp_path, kind, config):
    field = "n_layer" if kind is GPT2LMHeadModel else "num_hidden_layers"
    fields(save_tiny_causal(tmp_path, kind, config), **{field: 4})
    assert refusal(tmp_path).startswith(LACKS) and ".3." in refusal(tmp_path)
    fields(tmp_path, **{field: 2})
    assert refusal(tmp_path).startswith(PLACE) and ".2." in refusal(tmp_path)


def test_weights_without_a_place(tmp_path):
    """Within a module of the model they are told; a head that the model has not is none of it; nor are old buffers."""
    save_tiny_bert(tmp_path)
    for key in (
        "cls.predictions.bias",
        "classifier.weight",
        "embeddings.position_ids",
        "bert.embeddings.token_type_ids",
    ):
        weights(tmp_path, lambda found, key=key: found.update({key: torch.zeros(3)}))
    load_model(str(tmp_path))
    weights(tmp_path, lambda found: found.update({"encoder.layer.1.attention.self.extra": torch.zeros(3)}))
    assert refusal(tmp_path) == f"{PLACE}encoder.layer.1.attention.self.extra"
    save_tiny_causal(tmp_path)
    for key in ("score.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"):
        weights(tmp_path, lambda found, key=key: found.update({key: torch.zeros(3)}))
    load_model(str(tmp_path))
    for key in ("lm_head.bias", "model.layers.0.self_attn.q_proj.bias", "model.norm.bias"):
        weights(tmp_path, lambda found, key=key: found.update({key: torch.zeros(3)}))
        assert refusal(tmp_path) == PLACE + key
        weights(tmp_path, lambda found, key=key: found.pop(key))


def test_tied_weights_need_not_be_there(tmp_path):
    torch.manual_seed(0)
    transformers.GPT2Model(GPT2Config(**GPT2.to_diff_dict())).save_pretrained(save_tiny_causal(tmp_path))
    model = load_model(str(tmp_path)).model
    assert model.lm_head.weight is model.transformer.wte.weight


# GGUF files ----------------------------------------------------------------------------------------------------


def test_gguf(tmp_path):
    path = save_tiny_gguf(tmp_path / "tiny.gguf")
    model = load_model(str(path))
    assert model.num_layers == 3 and model.tokens("a b") == ["a", "b"]
    convert_gguf(path, tmp_path / "folder")
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(load_model(str(tmp_path / "folder")).logits(ids), model.logits(ids))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"without": ("blk.1.attn_q.weight",)}, f"{LACKS}model.layers.1.self_attn.q_proj.weight"),
        ({"blocks": 4}, f"{LACKS}model.layers.3.input_layernorm.weight"),
        ({"blocks": 2}, f"{PLACE}blk.2.attn_k.weight, blk.2.attn_norm.weight, blk.2.attn_output.weight and 6 more"),
        ({"extra": ("blk.0.attn_sub_norm.weight",)}, f"{PLACE}blk.0.attn_sub_norm.weight"),
        ({"extra": ("rope_freqs.weight",)}, f"{PLACE}rope_freqs.weight"),
        ({"letters": 0}, "has no tokenizer (tokenizer.json, or a vocabulary): it would know no word"),
    ],
)
def test_gguf_that_is_refused(tmp_path, options, message):
    path = save_tiny_gguf(tmp_path / "tiny.gguf", **options)
    assert refusal(path).startswith(message)
    with pytest.raises(ModelError, match=r"model 'tiny.gguf' (lacks|has)"):
        convert_gguf(path, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


# Tokenizers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert", "roberta", "albert", "electra", "distilbert", "modernbert"])
def test_encoder_without_a_tokenizer(tmp_path, name):
    kind, config = ENCODERS[name]
    kind(config).save_pretrained(tmp_path)
    assert refusal(tmp_path).startswith("has no tokenizer")


@pytest.mark.parametrize("name", DECODERS)
def test_language_model_without_a_tokenizer(tmp_path, name):
    kind, config = DECODERS[name]
    kind(config).save_pretrained(tmp_path)
    message = refusal(tmp_path)
    assert message.startswith("has no tokenizer") and "(tokenizer.json, or a vocabulary)" in message


def test_tokenizer_that_cannot_be_read(tmp_path):
    (save_tiny_causal(tmp_path) / "tokenizer.json").write_text("{")
    message = refusal(tmp_path)
    assert message.startswith("has no tokenizer that can be loaded (tokenizer.json, or a vocabulary)")


def test_tokenizer_with_more_ids_than_the_vocabulary(tmp_path):
    save_tiny_bert(tmp_path, vocab_size=31)
    load_model(str(tmp_path))
    save_tiny_bert(tmp_path, vocab_size=30)
    assert refusal(tmp_path) == "has 30 token ids, and its tokenizer ids up to 30"


def test_added_tokens_beyond_the_vocabulary(tmp_path):
    """Such as one for padding: of no consequence until a text names it."""
    kind, config = DECODERS["llama"]
    kind(type(config)(**config.to_diff_dict() | {"vocab_size": 27})).save_pretrained(save_letters(tmp_path))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(tmp_path)
    model = load_model(str(tmp_path))
    assert model.encode("a z") == [1, 26]
    with pytest.raises(ModelError, match=r"text must not have the token '\[PAD\]', which the model does not know"):
        model.encode("a [PAD]")
