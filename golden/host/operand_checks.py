"""Errors of what a session is given: shapes, heads that the hardware does not have, values that are no numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.autograd import forward_ad

from golden.host.state import SessionState
from hdl.spec.config import Config

__all__ = [
    "check_continues",
    "check_heads",
    "check_no_gradient",
    "check_scaling",
    "check_shapes",
    "finite",
    "row_width",
]


def check_heads(config: Config, heads: int, kv_heads: int, dim: int) -> None:
    """ValueError if ``config`` does not serve a layer of such heads."""
    row_width(config, dim)
    if heads > config.max_heads:
        raise ValueError(f"heads must be at most {config.max_heads} ({config.name}), not {heads}")
    if heads // kv_heads > config.max_group:
        raise ValueError(
            f"heads that share a K/V head must be at most {config.max_group} ({config.name}), not {heads // kv_heads}"
        )


def row_width(config: Config, dim: int) -> int:
    """Elements of the machine's rows for heads of dimension D: the least of ``config.dims`` that holds them.

    Zeros fill the rest, which changes no score and no output. ValueError if none does.
    """
    fitting = [width for width in config.dims if width >= dim > 0]
    if not fitting:
        raise ValueError(f"head dimension must be from 1 to {max(config.dims)} ({config.name}), not {dim}")
    return min(fitting)


def check_shapes(query: Tensor, key: Tensor, value: Tensor) -> None:
    """ValueError unless they are (B, H, q, D), (B, K, n, D) and (B, K, n, D), H a multiple of K, none empty."""
    fits = query.dim() == 4 and key.dim() == 4 and key.shape == value.shape
    if not fits or key.shape[::3] != query.shape[::3] or query.shape[1] % key.shape[1] or not query.numel():
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (query, key, value))
        raise ValueError(f"query, key, value must be (batch, heads, tokens, D) that fit, not {shapes}")


def check_no_gradient(**tensors: Tensor) -> None:
    """ValueError that names the first tensor of which a gradient is wanted: integers have none."""
    for name, tensor in tensors.items():
        backward = tensor.requires_grad and torch.is_grad_enabled()
        if backward or forward_ad.unpack_dual(tensor).tangent is not None:
            raise ValueError(f"{name} must need no gradient, as there is none: use torch.no_grad(), or detach it")


def check_scaling(scaling: float) -> None:
    """ValueError unless it is a finite number from 0 on: the machine's scale has no sign."""
    if not 0 <= scaling < math.inf:
        raise ValueError(f"scaling must be a finite number of at least 0, not {scaling!r}")


def check_continues(state: SessionState, layer: int, query: Tensor, key: Tensor, causal: bool) -> None:
    """ValueError if a layer's operands do not go on with the sequences as they began."""
    if query.shape[0] != state.batch or causal != state.causal:
        raise ValueError(f"batch must be the {state.batch} sequences that began: clear the session for others")
    if layer == 0 and not causal:
        raise ValueError("an encoder must run its layers once a sequence: clear the session for another")
    if layer == 0 and key.shape[2] != 1:
        raise ValueError(f"tokens after the prompt must come one at a time, not {key.shape[2]}")
    expected = state.queries if causal else state.ids.shape[1]
    if layer and key.shape[2] != expected:
        raise ValueError(f"layer {layer} must get {expected} tokens, as many as survive, not {key.shape[2]}")


def finite(tensor: Tensor, owner: str, name: str) -> Tensor:
    """The tensor (B, heads, …) in float64; ValueError that names the first head with a value that is no number."""
    tensor = tensor.detach().double()
    bad = ~torch.isfinite(tensor)
    if bad.any():
        head = int(bad.any(-1).any(-1).any(0).nonzero()[0])
        part = bad[:, head]
        raise ValueError(
            f"{owner} {head} {name} must be finite, not NaN or infinite in {int(part.sum())} of {part.numel()} elements"
        )
    return tensor
