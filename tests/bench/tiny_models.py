"""Random models of a few thousand weights, with a tokenizer that takes each word for a token."""

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import BertConfig, BertModel, GPT2Config, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from golden.models.load import CausalModel, SentenceModel

torch.set_num_threads(1)  # tensors are small: threads would only wait for each other

SIZES = dict(
    vocab_size=100,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=64,
)
"""Heads of dimension 16."""
IDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
LLAMA = LlamaConfig(**(SIZES | dict(num_hidden_layers=3, hidden_size=64, num_attention_heads=4)), num_key_value_heads=2)
GPT2 = GPT2Config(vocab_size=100, n_embd=64, n_layer=3, n_head=4, n_positions=64, **IDS)


class WordTokenizer:
    model_max_length = 40

    def __call__(self, text):
        return {"input_ids": [1] + [3 + sum(word.encode()) % 97 for word in text.split()] + [2]}

    def convert_ids_to_tokens(self, ids):
        return [str(token) for token in ids]


def tiny_model(kind=BertModel, config=None, **fields):
    """An encoder."""
    torch.manual_seed(0)
    return SentenceModel(kind(config or BertConfig(**(SIZES | fields))), WordTokenizer(), name="random")


def tiny_causal(kind=LlamaForCausalLM, config=LLAMA):
    """A language model, whose attention is not uniform although its weights are random."""
    torch.manual_seed(0)
    model = kind(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "embed" not in name:
                weight.mul_(6)
    return CausalModel(model, WordTokenizer(), name="random")


def save_tiny_bert(folder, **fields):
    """The same as a folder that AutoModel and AutoTokenizer load."""
    torch.manual_seed(0)
    BertModel(BertConfig(**(SIZES | fields))).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("\n".join(words))
    return folder


def save_tiny_causal(folder, kind=LlamaForCausalLM, config=LLAMA):
    """A language model whose tokens are letters."""
    tiny_causal(kind, config).model.save_pretrained(folder)
    return save_letters(folder)


def save_letters(folder):
    """A tokenizer whose tokens are letters."""
    vocabulary = {letter: number for number, letter in enumerate(["?", *"abcdefghijklmnopqrstuvwxyz"])}
    tokenizer = Tokenizer(tokenizer_models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?").save_pretrained(folder)
    return folder
