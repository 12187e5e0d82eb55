"""Random encoders of a few thousand weights, with a tokenizer that takes each word for a token."""

import torch
from transformers import BertConfig, BertModel

from golden.bert import SentenceModel

SIZES = dict(
    vocab_size=100,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=64,
)
"""Heads of dimension 16."""


class WordTokenizer:
    model_max_length = 40

    def __call__(self, text, return_tensors):
        ids = torch.tensor([[1] + [3 + sum(word.encode()) % 97 for word in text.split()] + [2]])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def convert_ids_to_tokens(self, ids):
        return [str(token) for token in ids]


def tiny_model(kind=BertModel, config=None, **fields):
    torch.manual_seed(0)
    return SentenceModel(kind(config or BertConfig(**(SIZES | fields))), WordTokenizer(), name="random")


def save_tiny_bert(folder, **fields):
    """The same as a folder that AutoModel and AutoTokenizer load."""
    torch.manual_seed(0)
    BertModel(BertConfig(**(SIZES | fields))).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("\n".join(words))
    return folder
