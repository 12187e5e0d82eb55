"""The host's side of a model's attention: quantizes, keeps K, V and importance of a batch, asks for layers.

A session runs B sequences of equal length through the layers of a model, in order. What runs a layer, the golden model
or an accelerator, is its ``execute``; everything else that happens to a sequence happens here, the same for both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor

from golden.host.algorithm import Algorithm
from golden.host.calibration import Calibration
from golden.host.layer_step import Execute, LayerStep, step_settings
from golden.host.operand_checks import (
    check_continues,
    check_heads,
    check_no_gradient,
    check_scaling,
    check_shapes,
    finite,
)
from golden.host.scopes import run_scope, tables_of
from golden.host.state import LayerMemory, Operands, SessionState
from golden.host.tables import Plane
from golden.host.traces import LayerTrace, Totals, dense_attention
from golden.layers.run_layer import run_layer
from hdl.spec import numerics as N
from hdl.spec.config import Config

__all__ = ["Session"]

_HEAD_UNIT = 2**12
"""Weight of the head with the largest V unit; V units of later layers may be 16 times larger."""


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
        self._state: SessionState | None = None

    # The sequences ---------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget the sequences, and what they cost."""
        self._state = None

    def save(self) -> SessionState | None:
        """A copy of all that the session knows of its sequences, so that others may take their turn."""
        return copy.deepcopy(self._state)

    def restore(self, state: SessionState | None) -> None:
        """Go on with the sequences of a state that :meth:`save` gave."""
        self._state = copy.deepcopy(state)

    @property
    def num_tokens(self) -> int:
        """Tokens of a sequence so far, pruned ones too."""
        return self._state.tokens if self._state else 0

    @property
    def next_layer(self) -> int:
        """Layer that :meth:`attention` expects."""
        return self._state.next_layer if self._state else 0

    @property
    def prompt(self) -> Totals:
        """What the prompt cost."""
        return self._state.prompt if self._state else Totals()

    @property
    def generation(self) -> Totals:
        """What the tokens after the prompt cost."""
        return self._state.generation if self._state else Totals()

    @property
    def alive(self) -> Tensor:
        """(B, k) an encoder's tokens that survived the layers so far."""
        return self._known.ids

    def survivors(self, layer: int) -> Tensor:
        """(B, k) rows that survive layer ``layer`` of an encoder, of those that entered it."""
        return self._known.survivors[layer]

    @property
    def _known(self) -> SessionState:
        if self._state is None:
            raise ValueError("session must have a sequence: none has begun")
        return self._state

    @property
    def _layers(self) -> int:
        if self.num_layers is None:
            raise ValueError("num_layers must be known before the first layer runs")
        return self.num_layers

    # A layer ---------------------------------------------------------------------------------------------------

    def attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, scaling: float | None = None, causal: bool
    ) -> Tensor:
        """Output (B, H, q, D), float64, of query (B, H, q, D) with key and value (B, K, n, D) of the new tokens.

        causal: n = q tokens; any number in the first call, then one at a time. Otherwise all tokens come at once (in
        later layers of an encoder the survivors). scaling: factor of the dot products, 1/sqrt(D) if None. ValueError
        names what does not fit the model, the hardware or what came before.
        """
        check_no_gradient(query=query, key=key, value=value)
        self._check(layer, query, key, value, causal)
        scaling = float(query.shape[-1] ** -0.5) if scaling is None else scaling
        check_scaling(scaling)
        query = finite(query, f"layer {layer} head", "query")
        key = finite(key, f"layer {layer} K/V head", "key")
        value = finite(value, f"layer {layer} K/V head", "value")
        if layer == 0:
            self._begin(query, key, causal)
        state = self._known
        memory = self._remember(layer, query, key, value)
        operands = self._operands(layer, memory, query, scaling)
        step = self._step(layer, operands)
        out = memory.calibration.output(run_scope(step, memory, operands), self.config).flatten(1, 2)
        out = out * step.trace.heads[:, :, None, None]
        if memory.float_key is not None and memory.float_value is not None:
            rows = memory.float_key.rows, memory.float_value.rows
            step.trace.measure(out, dense_attention(query, *rows, scaling=scaling, causal=causal))
        if step_settings(self.algorithm, state) != self.algorithm.attention:  # later steps read other planes
            memory.quantize(query, key, value, self.algorithm.attention, state.ids, state.tokens)
        self._finish(step.trace)
        return out

    def _check(self, layer: int, query: Tensor, key: Tensor, value: Tensor, causal: bool) -> None:
        check_shapes(query, key, value)
        check_heads(self.config, query.shape[1], key.shape[1], query.shape[-1])
        self.algorithm.token_ratios(self._layers, key.shape[1])
        self.algorithm.head_ratios(self._layers)
        if layer != self.next_layer:
            raise ValueError(f"layer must be {self.next_layer}, which is next, not {layer!r}")
        if causal and query.shape[2] != key.shape[2]:
            raise ValueError(f"query and key must be of the same new tokens, not {query.shape[2]} and {key.shape[2]}")
        if self._state is not None:
            check_continues(self._state, layer, query, key, causal)

    def _begin(self, query: Tensor, key: Tensor, causal: bool) -> None:
        """A new step: the first one of new sequences, or their next token."""
        batch, heads, queries, _ = query.shape
        tokens = key.shape[2] + self.num_tokens
        if tokens > self.config.max_tokens:
            raise ValueError(f"sequence must have at most {self.config.max_tokens} tokens, not {tokens}")
        if self._state is None:
            if not causal:
                self.algorithm.check_encoder()
            self._state = SessionState.begin(batch, heads, tokens, causal)
        self._state.step_with(tokens, queries)

    def _remember(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> LayerMemory:
        """The layer's memory with the new tokens in it."""
        state = self._known
        if layer == len(state.layers):
            state.layers.append(self._new_memory(layer, query, key, value))
        else:
            state.layers[layer].append(key, value, state.tokens - 1)
        return state.layers[layer]

    def _new_memory(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> LayerMemory:
        state, scope = self._known, self.algorithm.scope
        kv_heads = key.shape[1]
        settings = step_settings(self.algorithm, state)
        calibration = Calibration.of(query.unflatten(1, (kv_heads, -1)), key, value, settings)
        # The units of the first layer are the measure of all, if its heads compete with those of later ones.
        measure = state.layers[0].calibration if scope == "cascade" and layer else calibration
        weight = calibration.value_range / measure.value_range.amax(1, keepdim=True) * _HEAD_UNIT
        weight = weight.round().clamp(1, 2**N.WEIGHT_WIDTH - 1).long()
        return LayerMemory(
            calibration=calibration,
            key=Plane.of_tokens(calibration.key(key), state.ids, state.tokens),
            value=Plane.of_tokens(calibration.value(value), state.ids, state.tokens),
            heads=state.heads if scope == "cascade" else state.heads.new_ones(state.heads.shape),
            head_importance=state.head_importance.new_zeros(state.head_importance.shape),
            head_weight=weight.repeat_interleave(query.shape[1] // kv_heads, 1),
            tables=tables_of(scope, state, self.algorithm.token_ratios(self._layers, kv_heads)[layer]),
            float_key=Plane(key, key.dtype) if self.float_error else None,
            float_value=Plane(value, key.dtype) if self.float_error else None,
        )

    def _operands(self, layer: int, memory: LayerMemory, query: Tensor, scaling: float) -> Operands:
        owner = self._known if self.algorithm.scope == "cascade" else memory
        try:
            return memory.operands(query, scaling, owner.head_importance)
        except ValueError as error:
            raise ValueError(f"layer {layer}: {error}") from None

    def _step(self, layer: int, operands: Operands) -> LayerStep:
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
        )

    def _finish(self, trace: LayerTrace) -> None:
        state = self._known
        (state.prompt if state.step == 0 else state.generation).add(trace)
        state.next_layer = (trace.layer + 1) % self._layers
        if self.on_layer is not None:
            self.on_layer(trace)
