"""Encoders that drop tokens between layers: only survivors enter a layer, and all tokens leave it.

A token that was pruned keeps the states that it had then. So the model's outputs have a row of every token in its
place, and what reads them (a final norm, heads, ``hidden_states``) finds them as without pruning; the session's
``alive`` tells which rows are from the last layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from golden.host.session import Session
from golden.models.errors import ModelError

__all__ = ["check_first_token", "rows_of", "scattered"]


def scattered(layers: Iterable[nn.Module], session: Session) -> list[RemovableHandle]:
    """Hooks of an encoder's layers, which let the survivors of ``session`` through."""
    handles = []
    for layer in layers:
        rows = _Rows(session)
        handles.append(layer.register_forward_pre_hook(rows.gather, with_kwargs=True))
        # Before other hooks, such as those that collect hidden states.
        handles.append(layer.register_forward_hook(rows.scatter, prepend=True))
    return handles


class _Rows:
    """The rows of survivors around one layer."""

    def __init__(self, session: Session):
        self.session = session
        self.pruned: tuple[Tensor, Tensor] | None = None
        """(B, n, …) states of all tokens before the layer, and (B, k) the tokens that enter it; None: all do"""

    def gather(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        """Arguments of the survivors, of arguments of all tokens; states are the first one."""
        self.pruned = None
        if not self.session.next_layer:
            return None
        try:
            self.session.survivors(self.session.next_layer - 1)
        except IndexError:  # CLIP's text model: later tokens are hidden, as in a prompt, which is not shortened
            raise ModelError("attention must not be causal for tokens of an encoder to be pruned: keep all") from None
        name, alive = None if args else next(iter(kwargs)), self.session.alive
        whole = args[0] if name is None else kwargs[name]
        self.pruned, states = (whole, alive), rows_of(whole, alive)
        args, kwargs = ((states, *args[1:]), kwargs) if name is None else (args, kwargs | {name: states})
        if kwargs.get("position_embeddings") is not None:
            kwargs["position_embeddings"] = tuple(rows_of(part, alive) for part in kwargs["position_embeddings"])
        return args, kwargs

    def scatter(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """The output with the rows of all tokens."""
        if self.pruned is None:
            return None
        (whole, alive), self.pruned = self.pruned, None
        states = output[0] if isinstance(output, tuple) else output
        whole = whole.scatter(1, alive[..., None].expand_as(states), states)
        return (whole, *output[1:]) if isinstance(output, tuple) else whole


def rows_of(states: Tensor, rows: Tensor) -> Tensor:
    """(B, n, …) or (1, n, …) -> (B, k, …)"""
    states = states.expand(len(rows), *states.shape[1:])
    return states.gather(1, rows[..., None].expand(-1, -1, states.shape[-1]))


def check_first_token(model: Any, session: Session) -> None:
    """ModelError if a session may prune the token that the model's pooler, or a head that is not by token, reads."""
    from transformers.models.auto import modeling_auto as auto

    if session.algorithm.pin_first:
        return
    tasks = ("TOKEN_CLASSIFICATION", "MASKED_LM", "QUESTION_ANSWERING")
    by_token = {name for task in tasks for name in getattr(auto, f"MODEL_FOR_{task}_MAPPING_NAMES").values()}
    kind = type(model).__name__
    pooler = getattr(model.base_model, "pooler", None) is not None
    if pooler or (model is not model.base_model and kind not in by_token):
        reader = "pooler" if pooler else "head"
        raise ModelError(f"pin_first must be at least 1 for {kind}, whose {reader} reads the first token, not 0")
