"""The host's side of a model's attention: quantizes, keeps K, V and importance of a batch, asks for layers.

A session runs B sequences of equal length through the layers of a model, in order. What runs a layer, the golden model
or an accelerator, is its ``execute``; everything else that happens to a sequence happens here, the same for both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from golden.host.algorithm import Algorithm
from golden.host.layer_step import Execute, LayerStep, step_settings
from golden.host.operand_checks import (
    check_continues,
    check_heads,
    check_no_gradient,
    check_scaling,
    check_shapes,
    finite,
    row_width,
)
from golden.host.scopes import run_scope, tables_of
from golden.host.spans import Spans, run_spans
from golden.host.state import FloatRows, LayerMemory, Operands, SessionState
from golden.host.traces import LayerTrace, Totals, dense_attention
from golden.layers.run_layer import run_layer
from golden.layers.traffic import Traffic
from hdl.spec.config import Config

__all__ = ["Session"]


class Session:
    """One batch of sequences of equal length through the layers of a model: a prompt, then token by token.

    num_layers: of the model; the backend sets it if None. on_layer: gets a :class:`golden.host.traces.LayerTrace` of
    every layer. float_error: compare every layer with dense float attention. ValueError if ``config`` does not serve
    the bit widths of ``algorithm``.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        config: Config,
        *,
        num_layers: int | None = None,
        execute: Execute = run_layer,
        on_layer: Callable[[LayerTrace], None] | None = None,
        float_error: bool = False,
    ):
        for settings in (algorithm.attention, algorithm.prompt):
            if settings is not None:
                settings.check(config)
        self.algorithm, self.config, self.num_layers = algorithm, config, num_layers
        self.execute, self.on_layer, self.float_error = execute, on_layer, float_error
        self.prompt, self.generation = Totals(), Totals()
        """what the prompts, and the tokens after them, have cost since :meth:`clear`"""
        self.state: SessionState | None = None
        """of the sequences that go on; whoever keeps several hands in the one whose turn it is"""

    # The sequences ---------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget the sequences, and what they cost."""
        self.state = None
        self.prompt, self.generation = Totals(), Totals()

    def save(self) -> SessionState | None:
        """A copy of all that the session knows of its sequences, so that others may take their turn."""
        return copy.deepcopy(self.state)

    def restore(self, state: SessionState | None) -> None:
        """Go on with the sequences of a state that :meth:`save` gave."""
        self.state = copy.deepcopy(state)

    @property
    def num_tokens(self) -> int:
        """Tokens of a sequence so far, pruned ones too."""
        return self.state.tokens if self.state else 0

    @property
    def next_layer(self) -> int:
        """Layer that :meth:`attention` expects."""
        return self.state.next_layer if self.state else 0

    @property
    def alive(self) -> Tensor:
        """(B, k) an encoder's tokens that survived the layers so far."""
        return self._known.ids

    def survivors(self, layer: int) -> Tensor:
        """(B, k) rows that survive layer ``layer`` of an encoder, of those that entered it."""
        return self._known.survivors[layer]

    @property
    def _known(self) -> SessionState:
        if self.state is None:
            raise ValueError("session must have sequences of one length: none has begun, or the last had padding")
        return self.state

    @property
    def _layers(self) -> int:
        if self.num_layers is None:
            raise ValueError("num_layers must be known before the first layer runs")
        return self.num_layers

    # A layer ---------------------------------------------------------------------------------------------------

    def attention(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        scaling: float | None = None,
        causal: bool,
        spans: Spans | None = None,
    ) -> Tensor:
        """Output (B, H, q, D), float64, of query (B, H, q, D) with key and value (B, K, n, D) of the new tokens.

        causal: n = q tokens; any number in the first call, then one at a time. Otherwise all tokens come at once (in
        later layers of an encoder the survivors). scaling: factor of the dot products, 1/sqrt(D) if None. spans: what
        each query row attends, if that is less than all tokens, or with ``causal`` all so far; only where the algorithm
        prunes neither tokens nor heads. ValueError names what does not fit the model, the hardware or what came before.
        """
        self._check(layer, query, key, value, causal)
        scaling = float(query.shape[-1] ** -0.5) if scaling is None else scaling
        check_scaling(scaling)
        dtype, query = key.dtype, finite(query, f"layer {layer} head", "query")
        key, value = (finite(rows, f"layer {layer} K/V head", name) for rows, name in ((key, "key"), (value, "value")))
        if layer == 0:
            self._begin(query, key, causal)
        state = self._known
        memory, moved = self._remember(layer, query, key, value, dtype)
        operands = self._operands(layer, memory, query, scaling)
        step = self._step(layer, operands, query.shape[-1])
        step.trace.traffic.add(moved)
        run = run_scope(step, memory, operands) if spans is None else run_spans(step, operands, spans)
        out = memory.calibration.output(run[..., : query.shape[-1]], self.config).flatten(1, 2)
        out = out * step.trace.heads[:, :, None, None]
        if self.float_error:
            step.trace.measure(out, _float_attention(memory, query, scaling=scaling, causal=causal, spans=spans))
        if step_settings(self.algorithm, state) != self.algorithm.attention:  # later steps read other planes
            memory.quantize(self.algorithm.attention, state.ids, state.tokens)
        self._finish(step.trace)
        return out

    def _check(self, layer: int, query: Tensor, key: Tensor, value: Tensor, causal: bool) -> None:
        check_no_gradient(query=query, key=key, value=value)
        check_shapes(query, key, value)
        check_heads(self.config, query.shape[1], key.shape[1], query.shape[-1])
        self.algorithm.token_ratios(self._layers, key.shape[1])
        self.algorithm.head_ratios(self._layers)
        if layer != self.next_layer:
            raise ValueError(f"layer must be {self.next_layer}, which is next, not {layer!r}")
        if causal and query.shape[2] != key.shape[2]:
            raise ValueError(f"query and key must be of the same new tokens, not {query.shape[2]} and {key.shape[2]}")
        if self.state is not None:
            check_continues(self.state, layer, query, key, causal)

    def _begin(self, query: Tensor, key: Tensor, causal: bool) -> None:
        """A new step: the first one of new sequences, or their next token."""
        batch, heads, queries, _ = query.shape
        tokens = key.shape[2] + self.num_tokens
        self.algorithm.check_length(self.config, tokens)
        if self.state is None:
            if not causal:
                self.algorithm.check_encoder()
            self.state = SessionState.begin(batch, heads, tokens, causal)
        self.state.step_with(tokens, queries)

    def _remember(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, dtype: torch.dtype
    ) -> tuple[LayerMemory, Traffic]:
        """The layer's memory with the new tokens in it, and what constants and planes made anew have moved."""
        state = self._known
        if layer == len(state.layers):
            state.layers.append(self._new_memory(layer, query, key, value, dtype))
            return state.layers[layer], Traffic(scales=state.layers[layer].calibration.constant_bytes)
        memory = state.layers[layer]
        requantized = memory.requantized_bytes(memory.append(query, key, value, state.tokens - 1), state.tokens)
        return memory, Traffic(requantized=requantized, scales=memory.calibration.constant_bytes)

    def _new_memory(self, layer: int, query: Tensor, key: Tensor, value: Tensor, dtype: torch.dtype) -> LayerMemory:
        state, scope = self._known, self.algorithm.scope
        return LayerMemory.of(
            FloatRows.of(query, key, value, dtype),
            step_settings(self.algorithm, state),
            keep=state.causal or self.float_error,
            ids=state.ids,
            tokens=state.tokens,
            width=row_width(self.config, query.shape[-1]),
            # The units of the first layer are the measure of all, if its heads compete with those of later ones.
            measure=state.layers[0].measure if scope == "cascade" and layer else None,
            heads=state.heads if scope == "cascade" else state.heads.new_ones(state.heads.shape),
            head_importance=state.head_importance.new_zeros(state.head_importance.shape),
            tables=tables_of(scope, state, self.algorithm.token_ratios(self._layers, key.shape[1])[layer]),
        )

    def _operands(self, layer: int, memory: LayerMemory, query: Tensor, scaling: float) -> Operands:
        owner = self._known if self.algorithm.scope == "cascade" else memory
        try:
            return memory.operands(query, scaling, owner.head_importance)
        except ValueError as error:
            raise ValueError(f"layer {layer}: {error}") from None

    def _step(self, layer: int, operands: Operands, dim: int) -> LayerStep:
        trace = LayerTrace(
            layer=layer,
            step=self._known.step,
            heads=operands.heads,
            head_importance=operands.head_importance,
            head_keep=operands.heads,
        )
        return LayerStep(
            algorithm=self.algorithm,
            config=self.config,
            num_layers=self._layers,
            execute=self.execute,
            state=self._known,
            trace=trace,
            dim=dim,
        )

    def _finish(self, trace: LayerTrace) -> None:
        state = self._known
        (self.prompt if state.step == 0 else self.generation).add(trace)
        state.next_layer = (trace.layer + 1) % self._layers
        if self.on_layer is not None:
            self.on_layer(trace)


def _float_attention(
    memory: LayerMemory, query: Tensor, *, scaling: float, causal: bool, spans: Spans | None
) -> Tensor:
    """What dense float attention makes of a query and the rows that a memory keeps."""
    assert memory.rows is not None
    mask = None if spans is None else spans.mask(memory.rows.key.count)
    return dense_attention(query, *memory.rows.floats, scaling=scaling, causal=causal, mask=mask)
