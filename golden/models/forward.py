"""A model's forward pass in pieces that the machine takes: without padding, and after a prompt token by token.

What comes out is what each sequence alone would get, one token at a time. The pieces are calls of the model itself, so
that positions, masks and heads are its own.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.utils.generic import ModelOutput

from golden.host.session import Session
from golden.models.sequences import Group, Sequences, adopt, call_cache, new_cache

__all__ = ["forward_of"]

_BY_TOKEN = ("input_ids", "inputs_embeds", "token_type_ids", "position_ids")
"""Inputs (B, n, …) that are cut by sequence and by token."""
_WRAPS = "__spatten_wraps__"
_LEAST = ("start_logits", "end_logits")
"""Scores (B, n) of an output; padding gets the least one."""


def forward_of(model: Any, session: Session, *, causal: bool) -> Callable[..., Any]:
    """What takes the place of ``model.forward`` while ``session`` is the model's attention.

    The session's state is kept in ``past_key_values``, or forgotten after the call if there is none.
    """
    original = getattr(model.forward, _WRAPS, model.forward)
    names = inspect.signature(original)

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        inputs = dict(names.bind_partial(*args, **kwargs).arguments)
        for name, parameter in names.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                inputs |= inputs.pop(name, {})
        return _Call(model, original, session, inputs, causal=causal).run()

    setattr(forward, _WRAPS, original)  # a session within another's context takes its place
    return forward


class _Call:
    """One call of a model's forward pass."""

    def __init__(
        self, model: Any, original: Callable[..., Any], session: Session, inputs: dict[str, Any], *, causal: bool
    ):
        self.model, self.original, self.session, self.inputs = model, original, session, inputs
        self.layers = model.config.num_hidden_layers
        tokens = inputs.get("input_ids")
        tokens = inputs.get("inputs_embeds") if tokens is None else tokens
        if not isinstance(tokens, Tensor) or tokens.dim() < 2:
            raise ValueError("input_ids or inputs_embeds must be given, (batch, tokens, …)")
        self.batch, self.count = tokens.shape[:2]
        if not self.batch or not self.count:
            raise ValueError(f"input_ids must have a sequence and a token, not the shape {tuple(tokens.shape)}")
        if self._option("output_attentions", False):
            raise ValueError(
                "output_attentions must be False: the accelerator gives outputs, and keeps no probabilities"
            )
        self.as_tuple = not self._option("return_dict", True)
        self.cache = self._cache() if causal else None
        self.sequences = Sequences(session) if self.cache is None else adopt(self.cache, session, self.layers)

    def _option(self, name: str, default: bool) -> bool:
        """An argument of the call, or else of the model's configuration."""
        given = self.inputs.get(name)
        return getattr(self.model.config, name, default) if given is None else given

    def _cache(self) -> Cache | None:
        given = self.inputs.get("past_key_values")
        if given is not None:
            return given
        return new_cache(self.session, self.layers) if self._option("use_cache", True) else None

    def run(self) -> Any:
        """The output, with the cache that was given or made; a call that fails leaves it as it was."""
        before, saved = self.sequences.length, self.sequences.saved()
        try:
            self.sequences.extend(self._mask(before))
            plain = self._is_plain()
            output = self._model(self.sequences.groups[0], self.inputs) if plain else self._in_pieces(before)
        except BaseException:  # also Ctrl-C
            self.sequences.length, self.sequences.groups = before, saved
            raise
        if self.cache is not None:
            output["past_key_values"] = self.cache
        return output.to_tuple() if self.as_tuple else output

    def _mask(self, before: int) -> Tensor:
        """(B, tokens so far and new) bool: False where padding stands."""
        if self.sequences.groups and self.batch != self.sequences.batch:
            raise ValueError(f"batch must be the {self.sequences.batch} sequences of the cache, not {self.batch}")
        mask, columns = self.inputs.get("attention_mask"), before + self.count
        if not isinstance(mask, Tensor) or mask.dim() != 2:
            padding = torch.ones(self.batch, columns, dtype=torch.bool)
            for group in self.sequences.groups:
                hidden = sorted(set(range(before)) - set(group.columns))
                for row in group.rows:
                    padding[row, hidden] = False
            return padding
        if mask.shape != (self.batch, columns):
            raise ValueError(f"attention_mask must be ({self.batch}, {columns}), not {tuple(mask.shape)}")
        mask = mask != 0
        empty = (~mask.any(1)).nonzero().flatten().tolist()
        if empty:
            raise ValueError(f"attention_mask must show a token of each sequence, not hide all of sequence {empty[0]}")
        return mask

    # As it is --------------------------------------------------------------------------------------------------

    def _is_plain(self) -> bool:
        """Whether one call of the model does: no padding, and a prompt or a single token."""
        if len(self.sequences.groups) > 1:
            return False
        group = self.sequences.groups[0]
        return len(group.columns) == self.sequences.length and (group.state is None or self.count == 1)

    def _model(self, group: Group, inputs: dict[str, Any]) -> Any:
        """The model's output for the next tokens of a group, whose state is replaced, never changed, if all is well."""
        inputs = inputs | {"return_dict": True}
        if self.cache is not None:
            tokens = 0 if group.state is None else group.state.tokens
            inputs["past_key_values"] = call_cache(tokens, self.layers)
        self.session.state = None if group.state is None else group.state.copy()
        output = self.original(**inputs)
        done = self.session.next_layer if self.session.state else 0
        if done or not self.session.state:
            kind = self.model.config.model_type
            raise ValueError(f"{kind} is not supported: {done} of {self.layers} layers were replaced")
        group.state = self.session.state
        return output

    # In pieces -------------------------------------------------------------------------------------------------

    def _in_pieces(self, before: int) -> ModelOutput:
        self._check_pieces()
        keep = self.inputs.pop("logits_to_keep", 0)
        parts = []
        for group in self.sequences.groups:
            columns = [column - before for column in group.columns if column >= before]
            steps = [columns] if group.state is None and columns else [[column] for column in columns]
            for step in steps:
                if group.state is not None:
                    group.marks[group.state.tokens] = group.state
                parts.append((group.rows, step, self._model(group, self._piece(group, step, before))))
        output = _joined(parts, self.batch, self.count)
        if len(self.sequences.groups) > 1:
            self.session.state = None  # of one group, it would be taken for that of the whole batch
        if isinstance(keep, Tensor) or keep:
            output["logits"] = output["logits"][:, keep if isinstance(keep, Tensor) else slice(-keep, None)]
        return output

    def _check_pieces(self) -> None:
        """ValueError for inputs that nobody knows how to cut."""
        if getattr(self.model.config, "trigram_input", False):
            kind = self.model.config.model_type
            raise ValueError(
                f"attention_mask must hide nothing from {kind}, whose embedding reads padding beside a token"
            )
        for name, value in self.inputs.items():
            known = (*_BY_TOKEN, "attention_mask", "cache_position", "logits_to_keep", "past_key_values")
            if isinstance(value, Tensor) and name not in known:
                raise ValueError(
                    f"{name} must be left out where sequences have padding, or several tokens follow a prompt"
                )

    def _piece(self, group: Group, step: list[int], before: int) -> dict[str, Any]:
        """The model's inputs for the new columns ``step`` of a group."""
        inputs = dict(self.inputs)
        for name in ("attention_mask", "cache_position"):
            inputs.pop(name, None)
        for name in _BY_TOKEN:
            if isinstance(inputs.get(name), Tensor):
                whole = inputs[name].expand(self.batch, *inputs[name].shape[1:])
                inputs[name] = whole[group.rows][:, step]
        if inputs.get("position_ids") is None:
            positions = self._positions(before)
            if positions is not None:
                inputs["position_ids"] = positions[group.rows][:, step]
        return inputs

    def _positions(self, before: int) -> Tensor | None:
        """(B, n) positions that the model, left to itself, gives the new tokens, padding too.

        None: it has no positions, or counts the tokens that are no padding, which a piece does by itself.
        """
        if "position_ids" not in inspect.signature(self.original).parameters:
            return None
        for module in self.model.modules():
            count = _position_counter(module)
            if count is not None:
                past = {"past_key_values_length": before} if before else {}  # encoders alone know no such argument
                return count(self.inputs["input_ids"], module.padding_idx, **past)
            if "PositionalEmbedding" in type(module).__name__:  # OPT's kind: by mask
                return None
        return torch.arange(before, before + self.count).expand(self.batch, -1)


def _position_counter(module: nn.Module) -> Callable[..., Tensor] | None:
    """How an embedding of RoBERTa's kind counts positions, by token id: its method, or (ESM) a function beside it."""
    name = "create_position_ids_from_input_ids"
    beside = getattr(sys.modules[type(module).__module__], name, None) if hasattr(module, "padding_idx") else None
    return getattr(module, name, beside)


def _joined(parts: list[tuple[list[int], list[int], Any]], batch: int, count: int) -> ModelOutput:
    """The outputs of (rows, columns, output) as one output of (batch, count) tokens; padding is 0.

    Tensors of three and more dimensions, and those that score tokens, are by token; of others the last column counts.
    """
    kind = type(parts[0][2])
    fields: dict[str, Any] = {}
    for rows, columns, output in parts:
        for name, value in output.items():
            if name == "past_key_values" or value is None:
                continue
            fields[name] = _placed(fields.get(name), value, rows, columns, (batch, count), name)
    return kind(**fields)


def _placed(whole: Any, value: Any, rows: list[int], columns: list[int], size: tuple[int, int], name: str) -> Any:
    """``whole`` with the part ``value`` of the rows and columns in its place."""
    if isinstance(value, tuple):
        before = whole or (None,) * len(value)
        return tuple(_placed(old, new, rows, columns, size, name) for old, new in zip(before, value, strict=True))
    if not isinstance(value, Tensor) or value.dim() < 2:
        raise ValueError(f"{name} of the model's output cannot be put together of sequences with padding")
    by_token = value.dim() > 2 or name in _LEAST
    if whole is None:
        shape = (*size, *value.shape[2:]) if by_token else (size[0], *value.shape[1:])
        whole = value.new_full(shape, torch.finfo(value.dtype).min if name in _LEAST else 0)
    if by_token:
        whole[torch.tensor(rows)[:, None], torch.tensor(columns)] = value
    else:
        whole[rows] = value
    return whole
