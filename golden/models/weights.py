"""What a model was loaded from, checked: every weight is there, has its place and its shape, and a tokenizer fits.

transformers fills a weight that it does not find with random numbers, leaves out one that it does not know, and makes
an empty tokenizer where there are no files. Each is a :class:`golden.models.errors.ModelError` here.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from golden.models.errors import ModelError

__all__ = ["check_gguf_tensors", "check_tokenizer", "check_weights", "vocabulary"]

_NAMED = 3
"""Most weights that a message names."""


def check_weights(name: str, model: Any, info: Mapping[str, Any]) -> None:
    """ModelError unless the weights of a model named ``name`` are those that its configuration asks for.

    info: as transformers gives it with ``output_loading_info``, where weights tied to others do not count as missing.
    A pooler that has no weights is taken out of an encoder, whose states do not pass it. Weights without a place are
    of no consequence if they are a head's that this model does not have, such as ``cls.predictions`` of an encoder that
    was trained to fill in words: their first name is that of no module. They are if they lie within a module that the
    model has: it would compute something else without them. Buffers that are not kept any more have a place.
    """
    missing = set(info["missing_keys"])
    pooler = {key for key in missing if key.startswith("pooler.")}
    if pooler:
        model.pooler = None
    _refuse(name, "lacks weights that its configuration has", missing - pooler)
    wrong = [f"{key} is {tuple(has)}, not {tuple(wants)}" for key, has, wants in info["mismatched_keys"]]
    _refuse(name, "has weights of another shape than its configuration", wrong)
    buffers = {key for key, _ in model.named_buffers()}
    lost = [key for key in info["unexpected_keys"] if _within(model, key) and not _forms(model, key) & buffers]
    _refuse(name, "has weights that its configuration has no place for", lost)


def _forms(model: Any, key: str) -> set[str]:
    """The names that a weight of a file may have in the model: with and without the base model's."""
    prefix = f"{model.base_model_prefix}."
    return {key, key.removeprefix(prefix), prefix + key}


def _within(model: Any, key: str) -> bool:
    """Whether a weight lies in a module that the model has."""
    base: nn.Module = model.base_model
    inner = key.removeprefix(f"{model.base_model_prefix}.")
    heads = {label for label, module in model.named_children() if module is not base}
    first = inner.split(".")[0]
    return hasattr(base, first) or (inner == key and first in heads)


def check_gguf_tensors(name: str, model: Any, tensors: Iterable[str]) -> None:
    """ModelError if a GGUF file has tensors of layers that transformers left out, which it does without a word."""
    gguf: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    kind = gguf.TENSOR_PROCESSORS.get(model.config.model_type, gguf.TensorProcessor)
    known = gguf.get_gguf_hf_weights_map(model, kind(config=model.config.to_dict()))
    lost = [tensor for tensor in tensors if re.match(r"blk\.\d+\.|rope_freqs\.", tensor) and tensor not in known]
    _refuse(name, "has weights that its configuration has no place for", lost)


def check_tokenizer(name: str, tokenizer: Any, model: Any) -> None:
    """ModelError if a tokenizer has no words, or words beyond the model's vocabulary.

    Tokens that were added to it, such as one for padding, may lie beyond: no text has them but one that names them.
    """
    ids = tokenizer.get_vocab()
    words = set(ids) - set(tokenizer.get_added_vocab()) - set(tokenizer.all_special_tokens)
    if not words:
        raise ModelError(f"model {name!r} has no tokenizer (tokenizer.json, or a vocabulary): it would know no word")
    largest, count = max(ids[word] for word in words), vocabulary(model)
    if largest >= count:
        raise ModelError(f"model {name!r} has {count} token ids, and its tokenizer ids up to {largest}")


def vocabulary(model: Any) -> int:
    """How many token ids a model has an embedding for."""
    return model.get_input_embeddings().num_embeddings


def _refuse(name: str, what: str, weights: Iterable[str]) -> None:
    found = sorted(weights, key=_natural)
    if found:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise ModelError(f"model {name!r} {what}: {', '.join(found[:_NAMED])}{more}")


def _natural(key: str) -> list[tuple[int, str]]:
    """Order in which layer 10 comes after layer 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", key)]
