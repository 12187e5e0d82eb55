"""Encoders and language models of transformers, with their own attention or with that of a session."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from golden.host.algorithm import ALGORITHMS, Algorithm
from golden.host.cache import cache_folder
from golden.host.operand_checks import check_heads, row_width
from golden.host.session import Session
from golden.models.backend import check_model, is_causal, replaced
from golden.models.errors import ModelError, first_line
from golden.models.gguf import correct_head_dim, tensor_names
from golden.models.scatter import rows_of
from golden.models.weights import check_gguf_tensors, check_tokenizer, check_weights, vocabulary
from hdl.spec.config import Config

__all__ = ["MODELS", "CausalModel", "ModelError", "SentenceModel", "convert_gguf", "find_model", "load_model"]

MODELS = cache_folder() / "models"
"""Folder of the models that go by a short name, such as ``minilm``."""

SHORT_NAMES = ("minilm", "smollm2")
"""Models that ``spatten models`` fetches."""


# Finding and loading -------------------------------------------------------------------------------------------


def find_model(name: str, models: Path = MODELS) -> str:
    """Folder or GGUF file of a model: ``name`` is one, or a short name below ``models``, or else a hub name.

    The folder that counts is the topmost one with a config.json that names a ``model_type`` (a package of a model holds
    it some levels down, and config files of other parts beside it). A hub name is returned as it is.
    """
    if name.endswith(".gguf"):
        if not Path(name).is_file():
            raise ModelError(f"model file {name!r} does not exist")
        return name
    for root in (Path(name), models / name):
        if root.is_dir():
            found = sorted(root.rglob("config.json"), key=lambda path: (len(path.parts), str(path)))
            for path in found:
                if "model_type" in _read_json(path):
                    return str(path.parent)
            raise ModelError(f"model folder {name!r} has no config.json with a model_type")
    if Path(name).is_file():
        raise ModelError(f"model {name!r} must be a folder, a .gguf file or a name, not another file")
    if name.count("/") > 1 or name.startswith((".", "/", "~")) or name.endswith("/"):  # no name of the hub
        raise ModelError(f"model folder {name!r} does not exist")
    if name in SHORT_NAMES:
        raise ModelError(f"model {name!r} is not there: run `spatten models` first")
    return name


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name} of the model cannot be read: {error}") from None
    return data if isinstance(data, dict) else {}


def load_model(name: str, models: Path = MODELS) -> SentenceModel | CausalModel:
    """A model of either kind from a folder, a GGUF file, a short name or the hub; :class:`ModelError` in one line."""
    source = find_model(name, models)
    with _loading(name, hub=not Path(source).exists()) as transformers:
        config = _configuration(transformers, source)
    _check_reads_text(config)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{config.model_type} is not supported: encoder-decoder models have cross attention")
    kind = CausalModel if is_causal(config) else SentenceModel
    with _loading(name) as transformers:
        tokenizer, model = _load(transformers, kind.AUTO, config, source, name)
    return kind(model, tokenizer, name=name)


def _configuration(transformers: Any, source: str) -> Any:
    config = transformers.AutoConfig.from_pretrained(**_where(source))
    if source.endswith(".gguf"):
        correct_head_dim(config, Path(source))
    return config


def _load(transformers: Any, auto: str, config: Any, source: str, name: str) -> tuple[Any, Any]:
    """Tokenizer and model of a source, by the class ``auto``; ModelError if a weight or the vocabulary is not there."""
    tokenizer = _load_tokenizer(transformers, source, name)
    # Weights of another shape would be an error that does not name them.
    options = {"dtype": torch.float32, "output_loading_info": True, "ignore_mismatched_sizes": True}
    model, info = getattr(transformers, auto).from_pretrained(**_where(source), config=config, **options)
    check_weights(name, model, info)
    if source.endswith(".gguf"):
        check_gguf_tensors(name, model, tensor_names(Path(source)))
    check_tokenizer(name, tokenizer, model)
    return tokenizer, model


def _load_tokenizer(transformers: Any, source: str, name: str) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(**_where(source))
    except Exception as error:  # also where there are no files, for some kinds of tokenizers
        line = first_line(error)
        reason = "" if line.endswith(":") else f": {line}"  # the head of a list says nothing
        raise ModelError(
            f"model {name!r} has no tokenizer that can be loaded (tokenizer.json, or a vocabulary){reason}"
        ) from error


def _check_reads_text(config: Any) -> None:
    from transformers import MODEL_MAPPING

    if type(config) in MODEL_MAPPING:
        inputs = getattr(MODEL_MAPPING[type(config)], "main_input_name", "input_ids")
        if inputs != "input_ids":
            raise ModelError(f"{config.model_type} is not supported: it reads {inputs}, not text")


def _where(source: str) -> dict[str, str]:
    """Arguments of ``from_pretrained``."""
    if not source.endswith(".gguf"):
        return {"pretrained_model_name_or_path": source}
    path = Path(source)
    return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}


@contextlib.contextmanager
def _loading(name: str, *, hub: bool = False) -> Iterator[Any]:
    """transformers, silent, its errors as :class:`ModelError` in one line. hub: the name is none of a file here."""
    import transformers

    gguf: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # else it tells of every retry
    bar, gguf.tqdm = gguf.tqdm, lambda tensors, **_: tensors  # the one bar that the line above leaves
    try:
        yield transformers
    except ModelError:
        raise
    except Exception as error:  # whatever a broken file makes the libraries raise
        where = "is no folder or .gguf file here, and no hub gives it" if hub else "cannot be loaded"
        raise ModelError(f"model {name!r} {where}: {first_line(error)}") from error
    finally:
        gguf.tqdm = bar


def convert_gguf(source: Path, folder: Path) -> None:
    """Write a GGUF file as a folder of float32 safetensors, configuration and tokenizer, which loads much faster."""
    with _loading(source.name) as transformers:
        config = _configuration(transformers, str(source))
        tokenizer, model = _load(transformers, CausalModel.AUTO, config, str(source), source.name)
    model.hf_quantizer = None  # the weights are plain numbers now
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# Models --------------------------------------------------------------------------------------------------------


class _Model:
    """What both kinds have in common."""

    AUTO = ""
    """class of transformers that loads it"""

    def __init__(self, model: Any, tokenizer: Any, *, name: str):
        self.model, self.tokenizer, self.name = model.eval(), tokenizer, name
        check_model(model)
        for label, weight in model.named_parameters():
            bad = int((~torch.isfinite(weight)).sum())
            if bad:
                raise ModelError(f"weights must be finite, not NaN or infinite in {bad} of {weight.numel()} of {label}")

    @property
    def num_layers(self) -> int:
        return self.model.config.num_hidden_layers

    @property
    def num_heads(self) -> int:
        return self.model.config.num_attention_heads

    @property
    def num_kv_heads(self) -> int:
        return getattr(self.model.config, "num_key_value_heads", None) or self.num_heads

    @property
    def dim(self) -> int:
        """Head dimension D."""
        config = self.model.config
        return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    def token_limit(self, config: Config, algorithm: Algorithm | None = None) -> int:
        """Most tokens of a sequence: what hardware, algorithm and the model's own position embeddings allow.

        algorithm: None for one that takes as many as any.
        """
        capacity = (algorithm or ALGORITHMS["dense"]).token_limit(config, row_width(config, self.dim))
        positions = getattr(self.model.config, "max_position_embeddings", capacity)
        limits = capacity, positions, getattr(self.tokenizer, "model_max_length", positions)
        return min(*limits, *_position_rows(self.model))

    def check(self, config: Config) -> None:
        """ModelError if ``config`` cannot run this model's heads."""
        try:
            check_heads(config, self.num_heads, self.num_kv_heads, self.dim)
        except ValueError as error:
            raise ModelError(f"{self.name}: {error}") from None

    def encode(self, text: str, *, whole: bool = True) -> list[int]:
        """Token ids of a text; ModelError if it has one that the model does not know.

        whole: with the tokens that the tokenizer puts around a text; False: of a part, which has none.
        """
        options = {} if whole else {"add_special_tokens": False}
        ids, count = self.tokenizer(text, **options)["input_ids"], vocabulary(self.model)
        for token in ids:
            if token >= count:
                word = self.tokenizer.convert_ids_to_tokens([token])[0]
                raise ModelError(f"{self.name}: text must not have the token {word!r}, which the model does not know")
        return ids

    def tokens(self, text: str) -> list[str]:
        return self.tokenizer.convert_ids_to_tokens(self.encode(text))

    @contextlib.contextmanager
    def _with(self, session: Session | None, tokens: int) -> Iterator[None]:
        """The session's attention, if there is one, for new sequences of up to so many tokens."""
        with torch.no_grad():
            if session is None:
                yield
                return
            self.check(session.config)
            limit = self.token_limit(session.config, session.algorithm)
            if tokens > limit:
                raise ModelError(f"tokens must be at most {limit} ({session.config.name}), not {tokens}")
            session.clear()
            with replaced(self.model, session):
                yield


def _position_rows(model: Any) -> Iterator[int]:
    """Positions of each table of position embeddings that begins after a row for padding (RoBERTa and its like)."""
    tables = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Embedding))
    for name, table in tables:
        if table.padding_idx is not None and name.endswith(("position_embeddings", "embed_positions")):
            yield table.num_embeddings - table.padding_idx - 1


class SentenceModel(_Model):
    """An encoder with its tokenizer: sentence embeddings."""

    AUTO = "AutoModel"
    """class of transformers that loads it"""

    @classmethod
    def load(cls, name: str = "minilm", models: Path = MODELS) -> SentenceModel:
        """As :func:`load_model`; ModelError if it is a language model."""
        model = load_model(name, models)
        if not isinstance(model, cls):
            raise ModelError(f"{model.model.config.model_type} is not an encoder: it generates text")
        return model

    def embed(self, texts: str | Sequence[str], session: Session | None = None) -> Tensor:
        """Sentence embedding (hidden size,), or (B, hidden size) of texts with equally many tokens; float64.

        Mean of the token states, L2 norm 1 (as sentence-transformers does it); with a session, of its survivors.
        """
        ids = [self.encode(text) for text in ([texts] if isinstance(texts, str) else texts)]
        if len({len(row) for row in ids}) != 1:
            raise ModelError(f"texts must have equally many tokens, not {', '.join(str(len(row)) for row in ids)}")
        inputs = torch.tensor(ids)
        with self._without_pooler(), self._with(session, inputs.shape[1]):
            states = self.model(input_ids=inputs, attention_mask=torch.ones_like(inputs)).last_hidden_state
            if session is not None:
                states = rows_of(states, session.alive)
        embeddings = nn.functional.normalize(states.double().mean(1), dim=-1)
        return embeddings[0] if isinstance(texts, str) else embeddings

    @contextlib.contextmanager
    def _without_pooler(self) -> Iterator[None]:
        """The model without the layer that reads the first token, which may have been pruned and is not asked for."""
        pooler = getattr(self.model, "pooler", None)
        if pooler is None:
            yield
            return
        self.model.pooler = None
        try:
            yield
        finally:
            self.model.pooler = pooler


class CausalModel(_Model):
    """A language model with its tokenizer: text token by token, and the probability of a given one."""

    AUTO = "AutoModelForCausalLM"
    """class of transformers that loads it"""

    @classmethod
    def load(cls, name: str = "smollm2", models: Path = MODELS) -> CausalModel:
        """As :func:`load_model`; ModelError if it is an encoder."""
        model = load_model(name, models)
        if not isinstance(model, cls):
            raise ModelError(f"{model.model.config.model_type} does not generate text: it is an encoder")
        return model

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids."""
        return self.tokenizer.decode(ids)

    def logits(self, ids: Tensor, session: Session | None = None) -> Tensor:
        """Scores (B, n, vocabulary) of the token after each of ids (B, n), as one prompt."""
        with self._with(session, ids.shape[1]):
            return self.model(ids, use_cache=False).logits

    def generate(self, ids: Tensor, count: int, session: Session | None = None) -> Tensor:
        """The ``count`` most likely next tokens (B, count) after the prompts ids (B, n), one by one."""
        if count < 1:
            raise ModelError(f"count must be at least 1, not {count}: logits() runs a prompt alone")
        with self._with(session, ids.shape[1] + count - 1):
            step, new = self._stepper(), ids
            chosen = []
            for _ in range(count):
                new = step(new).argmax(-1, keepdim=True)
                chosen.append(new)
        return torch.cat(chosen, 1)

    def teacher_forced(self, ids: Tensor, context: int, session: Session | None = None) -> Tensor:
        """Sum (B,) of the log probabilities of the tokens from ``context`` on, given those before; float64.

        With a session, ``context`` tokens are the prompt, and each further one is a step of generation.
        """
        if not 1 <= context < ids.shape[1]:
            raise ModelError(f"context must be from 1 to {ids.shape[1] - 1} of {ids.shape[1]} tokens, not {context}")
        count = ids.shape[1] - context
        with self._with(session, ids.shape[1] - 1):
            if session is None:
                scores = self.model(ids[:, :-1], use_cache=False, **self._keep(count)).logits[:, -count:]
            else:
                step = self._stepper()
                parts = [step(ids[:, :context])]
                parts += [step(ids[:, at : at + 1]) for at in range(context, ids.shape[1] - 1)]
                scores = torch.stack(parts, 1)
        chances = scores.double().log_softmax(-1)
        return chances.gather(-1, ids[:, context:, None]).squeeze(-1).sum(-1)

    def _stepper(self) -> Any:
        """A function from new tokens (B, n) to the scores (B, vocabulary) of the next one."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config)
        return lambda new: self.model(new, past_key_values=cache, use_cache=True, **self._keep(1)).logits[:, -1]

    def _keep(self, count: int) -> dict[str, int]:
        """Argument that leaves out all scores but the last ``count`` tokens', of models that know it."""
        return {"logits_to_keep": count} if self.model._supports_logits_to_keep() else {}
