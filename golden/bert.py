"""BERT-family models with their attention computed by jobs: on the golden model, or on the RTL.

The fully connected layers stay in PyTorch (they are the host's in the paper, too); every self-attention is replaced
through the attention interface of transformers, so that no model code is copied here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from golden.job import Job, JobResult, run_job
from golden.quantize import AttentionSettings, quantize_layer
from hdl.config import Config

__all__ = ["Execute", "LayerTrace", "ModelError", "SentenceModel", "find_model", "float_attention", "golden_execute"]

MODELS = Path(__file__).resolve().parent.parent / "build" / "models"
"""Folder of the models that go by a short name, such as ``minilm``."""

_NAME = "spatten"

Execute = Callable[[int, list[Job]], list[JobResult]]
"""Runs the jobs of a layer: (layer, jobs) -> a result per job."""


class ModelError(ValueError):
    """A model is not there, or is one whose attention cannot be replaced."""


@dataclasses.dataclass(kw_only=True)
class LayerTrace:
    """One layer's attention as it ran."""

    layer: int
    jobs: list[Job]
    results: list[JobResult]
    out: Tensor
    """(heads, q, D) dequantized output, float64"""
    want: Tensor
    """(heads, q, D) float attention of the same inputs, float64"""

    @property
    def max_error(self) -> float:
        return float((self.out - self.want).abs().max())

    @property
    def relative_error(self) -> float:
        """L2 norm of the error over that of the float output, of the whole layer."""
        return float((self.out - self.want).norm() / self.want.norm().clamp(min=1e-300))


def float_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    """Dense attention in float64: (heads, q, D), (heads, n, D), (heads, n, D) -> (heads, q, D)."""
    query, key, value = (tensor.double() for tensor in (query, key, value))
    return (query @ key.transpose(-1, -2) * scaling).softmax(-1) @ value


def golden_execute(config: Config) -> Execute:
    """Executor that runs every job on the integer model."""
    return lambda _layer, jobs: [run_job(job, config) for job in jobs]


class _Attention:
    """Attention function of one forward pass: counts the layers, quantizes, executes, dequantizes."""

    def __init__(
        self,
        execute: Execute,
        settings: AttentionSettings,
        config: Config,
        on_layer: Callable[[LayerTrace], None] | None,
    ):
        self.execute, self.settings, self.config, self.on_layer = execute, settings, config, on_layer
        self.layers = 0

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        layer = self.layers
        self.layers += 1
        name = f"layer {layer}"
        try:
            batch = quantize_layer(query, key, value, self.settings, self.config, scaling=scaling, name=name)
        except ValueError as error:
            raise ModelError(f"the model cannot be quantized: {error}") from None
        results = self.execute(layer, batch.jobs)
        out = batch.dequantize(results, self.config)
        if self.on_layer is not None:
            want = float_attention(query, key, value, scaling)
            self.on_layer(LayerTrace(layer=layer, jobs=batch.jobs, results=results, out=out, want=want))
        return out.to(value.dtype)


_active: list[_Attention] = []


def _attention_function(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls: (1, heads, tokens, D) each -> (1, tokens, heads, D)."""
    kind = type(module).__name__
    for option in ("position_bias", "softcap", "s_aux"):
        if kwargs.get(option) is not None:
            raise ModelError(f"{kind} is not supported: its attention needs {option!r}")
    if getattr(module, "is_causal", False):
        raise ModelError(f"{kind} is not supported: its attention is causal, not of the BERT family")
    if query.shape[0] != 1:
        raise ModelError(f"one sentence at a time, not a batch of {query.shape[0]}")
    if key.shape[1] != query.shape[1]:
        raise ModelError(f"{kind} is not supported: {query.shape[1]} heads share {key.shape[1]} K/V heads")
    if attention_mask is not None and not _sees_all(attention_mask):
        raise ModelError(f"{kind} is not supported: its mask hides tokens of a sentence without padding")
    factor = float(query.shape[-1] ** -0.5) if scaling is None else scaling
    out = _active[-1](query[0], key[0], value[0], factor)
    return out.transpose(0, 1).unsqueeze(0).contiguous(), None


def _sees_all(mask: Tensor) -> bool:
    """Whether a mask, boolean or added to the scores, hides nothing."""
    return bool(mask.all()) if mask.dtype == torch.bool else not bool(mask.any())


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    def mask_function(**kwargs: Any) -> Tensor | None:
        # Never let transformers leave the mask out: _attention_function has to see that it hides nothing.
        return sdpa_mask(**{**kwargs, "allow_is_bidirectional_skip": False, "allow_is_causal_skip": False})

    AttentionInterface.register(_NAME, _attention_function)
    AttentionMaskInterface.register(_NAME, mask_function)


def find_model(name: str, models: Path = MODELS) -> str:
    """Folder of a model: ``name`` is a folder, a short name below ``models``, or else a hub name, returned as it is.

    The folder that counts is the topmost one with a config.json that names a ``model_type`` (a package of a model holds
    it some levels down, and config files of other parts beside it).
    """
    for root in (Path(name), models / name):
        if root.is_dir():
            found = sorted(root.rglob("config.json"), key=lambda path: (len(path.parts), str(path)))
            for path in found:
                if "model_type" in _read_json(path):
                    return str(path.parent)
            raise ModelError(f"model folder {name!r} has no config.json with a model_type")
    if name == "minilm":
        raise ModelError("model 'minilm' is not there: run `spatten models` first")
    return name


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name} of the model cannot be read: {error}") from None
    return data if isinstance(data, dict) else {}


class SentenceModel:
    """An encoder with its tokenizer: sentence embeddings with the original attention, or with that of an executor."""

    def __init__(self, model: Any, tokenizer: Any, *, name: str):
        config = model.config
        self.model, self.tokenizer, self.name = model.eval(), tokenizer, name
        if getattr(config, "is_encoder_decoder", False) or getattr(config, "is_decoder", False):
            raise ModelError(f"{config.model_type} is not supported: it has a decoder, only encoders are run")
        if not getattr(model, "_supports_attention_backend", False):
            raise ModelError(f"{config.model_type} is not supported: transformers cannot replace its attention")
        self.original = config._attn_implementation

    @classmethod
    def load(cls, name: str = "minilm", models: Path = MODELS) -> SentenceModel:
        """A model from a folder, a short name or the hub; :class:`ModelError` in one line if that cannot be."""
        import transformers

        source = find_model(name, models)
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(source)
            model = transformers.AutoModel.from_pretrained(source, dtype=torch.float32)
        except (OSError, ValueError, KeyError, ImportError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(f"model {name!r} cannot be loaded: {lines[0]}") from None
        return cls(model, tokenizer, name=name)

    @property
    def num_layers(self) -> int:
        return self.model.config.num_hidden_layers

    @property
    def num_heads(self) -> int:
        return self.model.config.num_attention_heads

    @property
    def dim(self) -> int:
        """Head dimension D."""
        config = self.model.config
        return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    def token_limit(self, config: Config) -> int:
        """Most tokens of a sentence: what the hardware and the model's own position embeddings allow."""
        capacity = config.buffer_slots // config.slices(self.dim)
        positions = getattr(self.model.config, "max_position_embeddings", config.max_tokens)
        return min(config.max_tokens, capacity, positions, getattr(self.tokenizer, "model_max_length", positions))

    def check(self, config: Config) -> None:
        """ModelError if ``config`` cannot run this model's heads."""
        if self.dim not in config.dims:
            served = ", ".join(map(str, config.dims))
            raise ModelError(f"{self.name} has heads of dimension {self.dim}; {config.name} serves {served}")

    def tokenize(self, text: str) -> dict[str, Tensor]:
        return dict(self.tokenizer(text, return_tensors="pt"))

    def tokens(self, text: str) -> list[str]:
        return self.tokenizer.convert_ids_to_tokens(self.tokenize(text)["input_ids"][0].tolist())

    def embed(self, text: str) -> Tensor:
        """Sentence embedding (hidden size,): mean of the token states, L2 norm 1 (as sentence-transformers does it)."""
        inputs = self.tokenize(text)
        with torch.no_grad():
            states = self.model(**inputs).last_hidden_state[0]
        return nn.functional.normalize(states.double().mean(0), dim=0)

    def embed_with(
        self,
        text: str,
        execute: Execute,
        settings: AttentionSettings,
        config: Config,
        *,
        on_layer: Callable[[LayerTrace], None] | None = None,
    ) -> Tensor:
        """The same with every attention quantized to jobs and run by ``execute``, layer after layer."""
        self.check(config)
        attention = _Attention(execute, settings, config, on_layer)
        with self._replaced(attention):
            embedding = self.embed(text)
        if attention.layers != self.num_layers:
            kind = self.model.config.model_type
            raise ModelError(f"{kind} is not supported: {attention.layers} of {self.num_layers} layers were replaced")
        return embedding

    @contextlib.contextmanager
    def _replaced(self, attention: _Attention) -> Iterator[None]:
        _register()
        _active.append(attention)
        try:
            self.model.set_attn_implementation(_NAME)
            yield
        finally:
            self.model.set_attn_implementation(self.original)
            _active.pop()
