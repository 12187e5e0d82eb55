"""An attention function with the arguments and the results of PyTorch's own, computed as the accelerator does."""

from __future__ import annotations

import math
import numbers
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from golden.host.algorithm import ALGORITHMS, Algorithm
from golden.host.layer_step import Execute
from golden.host.operand_checks import check_heads, check_no_gradient
from golden.host.session import Session
from golden.layers.run_layer import run_layer
from golden.models.masks import mask_parts, shown_by
from hdl.spec.config import PRESETS, Config

__all__ = ["spatten_attention"]

_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def spatten_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    config: Config = PRESETS["paper"],
    algorithm: Algorithm = ALGORITHMS["dense"],
    execute: Execute = run_layer,
) -> Tensor:
    """As ``torch.nn.functional.scaled_dot_product_attention``: query (…, H, L, D), key and value (…, H, S, D).

    A mask may hide keys from a whole sequence or head, or later keys as ``is_causal`` does, or both. Keys that no query
    sees are never read, and queries that see no key get zeros. ValueError tells what the accelerator cannot do, such as
    dropout, gradients, or a bias of the scores. Of the algorithm, one layer knows its ``attention`` only: quantization
    and local value pruning.
    """
    _check_options(dropout_p, is_causal, scale, enable_gqa)
    _check_tensors(query=query, key=key, value=value, attn_mask=attn_mask)
    operands = _Operands.of(*(_autocast(tensor) for tensor in (query, key, value)), gqa=enable_gqa)
    shown = None if attn_mask is None else operands.shown(_autocast(attn_mask))
    if is_causal:
        if shown is not None:
            raise ValueError("attn_mask must be None with is_causal: a mask may hide later keys itself")
        shown = torch.ones(1, 1, query.shape[-2], key.shape[-2], dtype=torch.bool).tril()
    session = Session(Algorithm(attention=algorithm.attention), config, num_layers=1, execute=execute)
    return _run(session, operands, shown, scale).to(operands.query.dtype).view(operands.shape)


# Arguments -----------------------------------------------------------------------------------------------------


def _check_options(dropout_p: Any, is_causal: Any, scale: Any, enable_gqa: Any) -> None:
    if dropout_p != 0:
        raise ValueError(f"dropout_p must be 0, not {dropout_p!r}: the accelerator drops nothing at random")
    for name, value in (("is_causal", is_causal), ("enable_gqa", enable_gqa)):
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, not {value!r}")
    number = isinstance(scale, numbers.Real) and not isinstance(scale, bool)
    if scale is not None and not (number and math.isfinite(scale)):
        raise ValueError(f"scale must be None or a finite number, not {scale!r}")


def _check_tensors(**tensors: Tensor | None) -> None:
    for name, tensor in tensors.items():
        if tensor is None and name == "attn_mask":
            continue
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} must be a tensor, not {type(tensor).__name__}")
        if tensor.is_nested or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise ValueError(f"{name} must be a dense tensor on the CPU, not {tensor.layout} on {tensor.device}")
        if tensor.dim() < 2:
            raise ValueError(f"{name} must have at least 2 dimensions, not {tuple(tensor.shape)}")
        check_no_gradient(**{name: tensor})


def _autocast(tensor: Tensor) -> Tensor:
    """The tensor as PyTorch's own function gets it under autocast, which leaves float64 as it is."""
    if not torch.is_autocast_enabled("cpu") or not tensor.is_floating_point() or tensor.dtype == torch.float64:
        return tensor
    return tensor.to(torch.get_autocast_dtype("cpu"))


def _check_fit(query: Tensor, key: Tensor, value: Tensor) -> None:
    types = {tensor.dtype for tensor in (query, key, value)}
    if len(types) > 1 or not types <= set(_TYPES):
        names = ", ".join(str(tensor.dtype).removeprefix("torch.") for tensor in (query, key, value))
        raise ValueError(f"query, key, value must be all float16, bfloat16, float32 or float64, not {names}")
    if key.shape[-1] != query.shape[-1]:
        raise ValueError(f"key must have the head dimension {query.shape[-1]} of query, not {key.shape[-1]}")
    if value.shape[-2] != key.shape[-2]:
        raise ValueError(f"value must have {key.shape[-2]} tokens as key, not {value.shape[-2]}")


def _common_heads(heads: list[int], gqa: bool) -> list[int]:
    """Heads of query, key, value, which broadcast unless they share by ``gqa``."""
    if gqa:
        if heads[1] != heads[2] or not heads[1] or heads[0] % heads[1]:
            raise ValueError(f"heads of key and value must divide the {heads[0]} of query, not be {_and(heads[1:])}")
        return heads
    several = {*heads} - {1}
    if len(several) > 1:
        raise ValueError(
            f"key and value must have {heads[0]} heads as query (or set enable_gqa), not {_and(heads[1:])}"
        )
    return [*(several or {1})] * 3


def _and(numbers: list[int]) -> str:
    return " and ".join(str(number) for number in sorted({*numbers}))


class _Operands(NamedTuple):
    """Tensors of one number of dimensions; H is a multiple of K."""

    query: Tensor
    """(B, H, L, D)"""
    key: Tensor
    """(B, K, S, D)"""
    value: Tensor
    """(B, K, S, D of the value)"""
    batch: tuple[int, ...]
    """dimensions that B stands for"""
    alone: bool
    """the caller's tensors have no dimension of heads"""

    @classmethod
    def of(cls, query: Tensor, key: Tensor, value: Tensor, *, gqa: bool) -> _Operands:
        """Of tensors of any batch dimensions that broadcast; ValueError if they do not fit."""
        _check_fit(query, key, value)
        tensors = [query, key, value]
        if gqa and min(tensor.dim() for tensor in tensors) < 3:
            raise ValueError("query, key, value must have a dimension of heads with enable_gqa")
        alone = not gqa and max(tensor.dim() for tensor in tensors) < 4
        tensors = [tensor.unsqueeze(-3) if alone or tensor.dim() == 2 else tensor for tensor in tensors]
        heads = _common_heads([tensor.shape[-3] for tensor in tensors], gqa)
        try:
            batch = torch.broadcast_shapes(*(tensor.shape[:-3] for tensor in tensors))
        except RuntimeError:
            shapes = ", ".join(str(tuple(tensor.shape[:-3])) for tensor in tensors)
            raise ValueError(f"batch dimensions of query, key, value must broadcast, not be {shapes}") from None
        query, key, value = (
            tensor.expand(*batch, number, -1, -1).reshape(math.prod(batch), number, *tensor.shape[-2:])
            for tensor, number in zip(tensors, heads, strict=True)
        )
        return cls(query, key, value, batch, alone)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        heads = () if self.alone else self.query.shape[1:2]
        return (*self.batch, *heads, self.query.shape[2], self.value.shape[3])

    def shown(self, mask: Tensor) -> Tensor:
        """(B or 1, H or 1, L, S) bool of a mask that broadcasts to all scores."""
        if mask.dtype not in (torch.bool, torch.float32, self.query.dtype):
            types = f"bool, float32 or {str(self.query.dtype).removeprefix('torch.')} as query"
            raise ValueError(f"attn_mask must be {types}, not {str(mask.dtype).removeprefix('torch.')}")
        (heads, queries), keys = self.query.shape[1:3], self.key.shape[2]
        scores = (*self.batch, heads, queries, keys)
        whole = mask.unsqueeze(-3) if self.alone else mask
        whole = whole.reshape((1,) * (len(scores) - whole.dim()) + whole.shape)
        if whole.dim() > len(scores) or any(size not in (1, n) for size, n in zip(whole.shape, scores, strict=True)):
            want = (*self.shape[:-1], keys)
            raise ValueError(f"attn_mask must broadcast to {want}, not be {tuple(mask.shape)}")
        shown = shown_by(whole)
        if any(size > 1 for size in shown.shape[:-3]):
            shown = shown.expand(*self.batch, -1, -1, -1)
        return shown.reshape(math.prod(shown.shape[:-3]), *shown.shape[-3:]).expand(-1, -1, queries, keys)


# Execution -----------------------------------------------------------------------------------------------------


def _run(session: Session, operands: _Operands, shown: Tensor | None, scale: float | None) -> Tensor:
    """(B, H, L, D of the value) float64."""
    query, key, value = operands[:3]
    dim, wide = query.shape[3], value.shape[3]
    if not query.shape[:3].numel() or not key.shape[2] or not wide:
        return torch.zeros(*query.shape[:3], wide, dtype=torch.float64)
    check_heads(session.config, query.shape[1], key.shape[1], dim)
    scaling = dim**-0.5 if scale is None else float(scale)
    # The machine's scale is positive; a scale of 0 leaves all scores equal, as queries of zeros do.
    query = query * (math.copysign(1.0, scaling) if scaling else 0.0)
    query, key, value = (functional.pad(rows, (0, max(dim, wide) - rows.shape[3])) for rows in (query, key, value))
    scaling = abs(scaling) or 1.0
    if shown is None:
        return session.attention(0, query, key, value, scaling=scaling, causal=False)[..., :wide]
    if torch.equal(shown, shown[:, :1].expand_as(shown)):
        return _masked(session, query, key, value, shown[:, 0], scaling)[..., :wide]
    # Heads that see other keys are sequences of their own, each with its K and V.
    group = query.shape[1] // key.shape[1]
    alone = (query, key.repeat_interleave(group, 1), value.repeat_interleave(group, 1))
    rows, keys, values = (tensor.flatten(0, 1).unsqueeze(1) for tensor in alone)
    out = _masked(session, rows, keys, values, shown.expand(len(query), -1, -1, -1).flatten(0, 1), scaling)
    return out.view(*query.shape[:3], -1)[..., :wide]


def _masked(session: Session, query: Tensor, key: Tensor, value: Tensor, shown: Tensor, scaling: float) -> Tensor:
    """As :meth:`golden.host.session.Session.attention`, where queries see the keys of shown (B or 1, L, S) only."""
    out = torch.zeros(query.shape, dtype=torch.float64)
    masks, which = shown.unique(dim=0, return_inverse=True)
    which = which.expand(len(query))
    for number, mask in enumerate(masks):
        chosen = (which == number).nonzero()[:, 0]
        rows = out[chosen]
        for part in mask_parts(mask):
            inputs = (query[chosen][:, :, part.queries], *(plane[chosen][:, :, part.keys] for plane in (key, value)))
            rows[:, :, part.queries] = _part(session, *inputs, scaling=scaling, causal=part.causal)
        out[chosen] = rows
    return out


def _part(session: Session, query: Tensor, key: Tensor, value: Tensor, *, scaling: float, causal: bool) -> Tensor:
    """A session's new sequences; with ``causal`` the last query sees all keys, the one before it all but one, …"""
    session.clear()
    before = key.shape[2] - query.shape[2] if causal else 0
    query = functional.pad(query, (0, 0, before, 0))  # a prompt has as many queries as keys
    return session.attention(0, query, key, value, scaling=scaling, causal=causal)[:, :, before:]
