"""The attention named ``spatten`` of transformers.

Models keep their code: their attention is replaced through the attention interface of transformers, and the fully
connected layers stay in PyTorch (they are the host's in the paper, too).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from golden.host.session import Session
from golden.host.spans import Spans, spans_of
from golden.models.errors import ModelError
from golden.models.scatter import check_first_token, scattered

__all__ = ["NAME", "ModelError", "check_model", "register", "replaced"]

NAME = "spatten"
"""Of the attention implementation, for transformers."""


# Models --------------------------------------------------------------------------------------------------------


def check_model(model: Any) -> None:
    """ModelError if the attention of a transformers model is not one that can be replaced."""
    config = model.config
    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{kind} is not supported: encoder-decoder models have cross attention")
    if getattr(config, "add_cross_attention", False):
        raise ModelError(f"{kind} is not supported: it has cross attention")
    if getattr(config, "alibi", False):
        raise ModelError(f"{kind} is not supported: its attention adds a bias by distance (ALiBi)")
    positions = str(getattr(config, "position_embedding_type", None))
    if positions == "alibi" or positions.startswith("relative"):
        raise ModelError(f"{kind} is not supported: its attention adds a bias by position ({positions})")
    if not hasattr(config, "num_hidden_layers"):
        raise ModelError(f"{kind} is not supported: it is made of several models")
    if not getattr(model, "_supports_attention_backend", False):
        raise ModelError(f"{kind} is not supported: transformers cannot replace its attention")


@contextlib.contextmanager
def replaced(model: Any, session: Session) -> Iterator[None]:
    """In this context the attention of ``model`` is that of ``session``, and an encoder drops its pruned tokens.

    A call of the model without a cache begins new sequences; what the session knows of others lies in the cache
    (``past_key_values``) of theirs. ``model.generate`` therefore searches, samples and drafts as ever.
    """
    from golden.models.forward import forward_of

    check_model(model)
    register()
    layers = model.config.num_hidden_layers
    if session.num_layers not in (None, layers):
        raise ModelError(f"num_layers of the session must be the model's {layers}, not {session.num_layers}")
    session.num_layers = layers
    causal = _generates(model)
    attention, before = model.config._attn_implementation, vars(model).get("forward")
    shortened: list[nn.Module] = []
    if session.algorithm.prunes_tokens and not causal:
        check_first_token(model, session)
        shortened = _layer_modules(model)
    handles = scattered(shortened, session)
    try:
        model.set_attn_implementation(NAME)
        windows = _windows(model.config) if causal else None
        model.forward = _reported(session, forward_of(model, session, causal=causal), windows)
        yield
    finally:
        del model.forward
        if before is not None:
            model.forward = before
        model.set_attn_implementation(attention)
        for handle in handles:
            handle.remove()


def _windows(config: Any) -> list[int | None]:
    """Tokens that the layers of the model's own cache keep; None: all."""
    from transformers import DynamicCache

    return [getattr(layer, "sliding_window", None) for layer in DynamicCache(config=config).layers]


def _reported(session: Session, forward: Callable[..., Any], windows: list[int | None] | None) -> Callable[..., Any]:
    """``forward``, whose every attention is the session's, and whose errors are :class:`ModelError`."""

    @functools.wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        _active.append((session, windows))
        try:
            output = forward(*args, **kwargs)
        except ModelError:
            raise
        except ValueError as error:
            raise ModelError(str(error)) from error
        finally:
            _active.pop()
        return output

    return run


def is_causal(config: Any) -> bool:
    """Whether a model of this configuration generates text (BERT-like ones do only if they are told to)."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    if getattr(config, "is_decoder", False):
        return True
    kind = config.model_type
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def _generates(model: Any) -> bool:
    """As :func:`is_causal`, of a model; transformers' table lacks some that are parts of others (mllama)."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    kind = model.config.model_type
    return is_causal(model.config) or (model.can_generate() and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES)


def _layer_modules(model: Any) -> list[nn.Module]:
    """The encoder's layers; one that is used several times (ALBERT) counts once."""
    config = model.config
    numbers = {config.num_hidden_layers, getattr(config, "num_hidden_groups", config.num_hidden_layers)}
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) in numbers:
            return [layer for group in module for layer in getattr(group, "albert_layers", [group])]
    raise ModelError(f"{config.model_type} is not supported: it has no list of {config.num_hidden_layers} layers")


# The attention function ----------------------------------------------------------------------------------------

_active: list[tuple[Session, list[int | None] | None]] = []
"""Sessions whose models run, with the windows of the models' own caches; None: of an encoder."""


def register() -> None:
    """Make ``spatten`` known to transformers, as attention and as mask function."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    def mask_function(**kwargs: Any) -> Tensor | None:
        # Never let transformers leave the mask out: _attention has to see what it hides.
        return sdpa_mask(**{**kwargs, "allow_is_bidirectional_skip": False, "allow_is_causal_skip": False})

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, mask_function)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls: query (B, H, q, D), key and value (B, K, tokens, D) -> (B, q, H, D)."""
    if not _active:
        raise ModelError(f"attention {NAME!r} needs a session: call the model within golden.models.backend.replaced")
    if module.training:
        raise ModelError("model must be in evaluation mode, which model.eval() sets: this attention drops nothing")
    session, windows = _active[-1]
    causal = kwargs.get("is_causal")
    causal = bool(getattr(module, "is_causal", False) if causal is None else causal)
    before = session.num_tokens - (query.shape[2] if session.next_layer else 0) if causal else 0
    spans, reason = None, _unsupported(module, query, key, value, kwargs)
    if reason is None and attention_mask is not None:
        try:
            spans = spans_of(attention_mask, query.shape[2], before, causal=causal)
        except ValueError as error:
            reason = str(error)
    layer = session.next_layer
    if reason is None and not causal and layer == 0 and session.num_tokens:
        reason = f"it is called more often than once for each of {session.num_layers} layers"
        if windows is not None:
            reason = "its attention is bidirectional: tokens that follow would change those that came before"
    if reason is None and windows is not None and before:
        reason = _hidden_by_cache(windows[layer] if layer < len(windows) else None, before, spans)
    if reason is not None:
        raise ModelError(f"{type(module).__name__} is not supported: {reason}")
    try:
        out = session.attention(layer, query, key, value, scaling=scaling, causal=causal, spans=spans)
    except ValueError as error:
        raise ModelError(str(error)) from error
    return out.to(value.dtype).transpose(1, 2).contiguous(), None


def _hidden_by_cache(window: int | None, before: int, spans: Spans | None) -> str | None:
    """What is wrong where the model's own cache hides tokens that its mask shows (Moshi)."""
    shown = before + 1 if spans is None else int((spans.last - spans.first + 1).max())
    if window is None or shown <= window:
        return None
    return f"its cache keeps {window} tokens, and its mask shows {shown}: keep the text within {window}"


def _unsupported(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]) -> str | None:
    """What this attention does that the accelerator cannot do."""
    if getattr(module, "is_cross_attention", False):
        return "it has cross attention"
    needs = {
        "position_bias": "a bias by position",
        "softcap": "a soft cap of its scores",
        "s_aux": "attention sinks",
        "block_indices": "a choice of blocks of keys for each query",  # MiniMax M3's sparse layers
    }
    for option, what in needs.items():
        if options.get(option) is not None:
            return f"its attention needs {what} ({option!r})"
    for option, given in options.items():  # what is not known here is not left out without a word
        if isinstance(given, Tensor) and given.is_floating_point():
            return f"its attention is given {option!r}, which this one does not know"
    if key.shape[-1] != query.shape[-1] or value.shape[-1] != key.shape[-1]:
        return (
            f"its queries, keys and values have different dimensions, "
            f"{query.shape[-1]}, {key.shape[-1]} and {value.shape[-1]}"
        )
    if key.shape[2] != query.shape[2]:
        return f"{query.shape[2]} queries come with the keys of {key.shape[2]} tokens, which other layers may share"
    return None
