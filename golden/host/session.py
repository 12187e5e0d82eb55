"""The host's side of a model's attention: quantizes, keeps K, V and importance of a batch, asks for layers.

A session runs B sequences of equal length through the layers of a model, in order. What runs a layer, the golden model
or an accelerator, is its ``execute``; everything else that happens to a sequence happens here, the same for both.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from golden.datapath import cascade
from golden.host.algorithm import Algorithm
from golden.host.calibration import Calibration
from golden.layers.job import flat_limit_of, scale_of
from golden.layers.layer import Layer, Outcome, Traffic, multiply_accumulates, run_layer, traffic
from golden.layers.quantize import AttentionSettings, keep_count
from hdl.spec import numerics as N
from hdl.spec.config import Config

__all__ = ["Execute", "LayerTrace", "Session", "SessionState", "TableTrace", "Totals"]

Execute = Callable[[Layer, Config], Outcome]
"""Runs a layer: :func:`golden.layers.layer.run_layer`, or an accelerator. Without queries it is a selection only."""

_HEAD_UNIT = 2**12
"""Weight of the head with the largest V unit; V units of later layers may be 16 times larger."""


# What a session reports ----------------------------------------------------------------------------------------


@dataclasses.dataclass(kw_only=True)
class TableTrace:
    """A table of tokens in a layer: the whole layer's, or that of one K/V head."""

    ids: Tensor
    """(B, n) tokens attended"""
    importance: Tensor
    """(B, n) after the layer"""
    keep: Tensor
    """(B, n) bool: tokens that survive the layer's selection"""


@dataclasses.dataclass(kw_only=True)
class Totals:
    """Sums over rows, heads and sequences."""

    traffic: Traffic = dataclasses.field(default_factory=Traffic)
    macs: int = 0
    """multiply-accumulates of Q·K and prob·V"""
    dense_macs: int = 0
    """the same of dense attention with every token and head"""
    rows: int = 0
    """query rows of surviving heads"""
    flat_rows: int = 0
    """rows recomputed with the LSB plane"""

    def add(self, other: Totals) -> None:
        self.traffic.add(other.traffic)
        for name in ("macs", "dense_macs", "rows", "flat_rows"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclasses.dataclass(kw_only=True)
class LayerTrace(Totals):
    """One layer's attention as it ran, for B sequences."""

    layer: int
    step: int
    """0: the prompt (an encoder's only step)"""
    tables: list[TableTrace] = dataclasses.field(default_factory=list)
    """one; in the scope "head" one of each K/V head"""
    heads: Tensor
    """(B, H) bool: query heads computed"""
    head_importance: Tensor
    """(B, H) after the layer"""
    head_keep: Tensor
    """(B, H) bool"""
    max_error: float | None = None
    """largest absolute error of the output against dense float attention of the same inputs, if asked for"""
    relative_error: float | None = None
    """L2 norm of the error over that of the float output"""


# What a session keeps ------------------------------------------------------------------------------------------


class _Plane:
    """Rows (B, K, tokens, D) that grow token by token."""

    def __init__(self, rows: Tensor, dtype: torch.dtype):
        self._rows, self._count = rows.to(dtype), rows.shape[2]

    def append(self, rows: Tensor) -> None:
        count = self._count + rows.shape[2]
        if count > self._rows.shape[2]:
            batch, heads, have, dim = self._rows.shape
            spare = self._rows.new_zeros(batch, heads, max(count, have + have // 2) - have, dim)
            self._rows = torch.cat([self._rows, spare], 2)
        self._rows[:, :, self._count : count] = rows
        self._count = count

    @property
    def rows(self) -> Tensor:
        return self._rows[:, :, : self._count]


@dataclasses.dataclass(kw_only=True)
class _Table:
    """Tokens (B, n), ascending, with their importance; in the scope "head" B counts K/V heads, too."""

    ids: Tensor
    importance: Tensor

    @classmethod
    def of_all(cls, batch: int, tokens: int) -> _Table:
        ids = torch.arange(tokens).expand(batch, -1).contiguous()
        return cls(ids=ids, importance=torch.zeros_like(ids))

    @property
    def size(self) -> int:
        return self.ids.shape[1]

    def append(self, token: int) -> None:
        """A new token, of importance 0."""
        self.ids = torch.cat([self.ids, torch.full_like(self.ids[:, :1], token)], 1)
        self.importance = torch.cat([self.importance, torch.zeros_like(self.importance[:, :1])], 1)

    def chosen(self, keep: Tensor) -> _Table:
        """Only the tokens of the mask, which has as many in each sequence."""
        return _Table(ids=self.ids[keep].view(len(keep), -1), importance=self.importance[keep].view(len(keep), -1))


@dataclasses.dataclass(kw_only=True)
class _Memory:
    """What a layer keeps of the sequences."""

    calibration: Calibration
    key: _Plane
    value: _Plane
    heads: Tensor
    """(B, H) bool: computed in this layer"""
    head_importance: Tensor
    """(B, H), scope layer"""
    head_weight: Tensor
    """(B, H)"""
    tables: list[_Table]
    """scope layer: one; head: one of all K/V heads, or one of each; cascade: none"""
    float_key: _Plane | None = None
    float_value: _Plane | None = None


@dataclasses.dataclass(kw_only=True)
class SessionState:
    """All that a session knows of its sequences; for :meth:`Session.save` and :meth:`Session.restore` only."""

    batch: int
    causal: bool
    tokens: int = 0
    queries: int = 0
    """query rows of the step in its first layer"""
    step: int = -1
    next_layer: int = 0
    layers: list[_Memory] = dataclasses.field(default_factory=list)
    table: _Table
    """scope cascade: all tokens"""
    ids: Tensor
    """(B, n) scope cascade: tokens that the next layer attends"""
    heads: Tensor
    """(B, H) bool, scope cascade: heads that the next layer of the prompt computes"""
    head_importance: Tensor
    """(B, H), scope cascade"""
    survivors: list[Tensor] = dataclasses.field(default_factory=list)
    """encoder, by layer: (B, k) rows that survive of those which entered it"""
    prompt: Totals = dataclasses.field(default_factory=Totals)
    generation: Totals = dataclasses.field(default_factory=Totals)


@dataclasses.dataclass(kw_only=True)
class _Operands:
    """Integers of a layer as :class:`golden.layers.layer.Layer` has them, for all its tokens."""

    query: Tensor
    key: Tensor
    value: Tensor
    scale: Tensor
    shift: Tensor
    heads: Tensor
    head_importance: Tensor
    head_weight: Tensor

    def of_head(self, kv: int) -> _Operands:
        """One K/V head."""
        return self._by_head(lambda tensor: tensor[:, kv : kv + 1])

    def folded(self) -> _Operands:
        """Each K/V head as a sequence of its own: (B · K, 1, …)."""
        return self._by_head(lambda tensor: tensor.flatten(0, 1).unsqueeze(1))

    def _by_head(self, change: Callable[[Tensor], Tensor]) -> _Operands:
        """``change`` applied to all tensors with K/V heads as their second dimension."""
        fields = {}
        for name, tensor in vars(self).items():
            by_query_head = name.startswith("head")  # (B, H)
            whole = tensor.unflatten(1, (self.key.shape[1], -1)) if by_query_head else tensor
            fields[name] = change(whole).flatten(1) if by_query_head else change(whole)
        return _Operands(**fields)


# The session ---------------------------------------------------------------------------------------------------


class Session:
    """One batch of sequences of equal length through the layers of a model: a prompt, then token by token.

    num_layers: of the model; the backend sets it if None. on_layer: gets a :class:`LayerTrace` of every layer.
    float_error: compare every layer with dense float attention.
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

    def clear(self) -> None:
        """Forget the sequences, and what they cost."""
        self._state = None

    def save(self) -> SessionState | None:
        """All that the session knows of its sequences, so that others may take their turn."""
        return copy.deepcopy(self._state)

    def restore(self, state: SessionState | None) -> None:
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
        later layers of an encoder the survivors). scaling: factor of the dot products, 1/sqrt(D) if None.
        """
        self._check(layer, query, key, value, causal)
        query = _finite(query, f"layer {layer} head", "query")
        key = _finite(key, f"layer {layer} K/V head", "key")
        value = _finite(value, f"layer {layer} K/V head", "value")
        if layer == 0:
            self._begin(query, key, causal)
        scaling = float(query.shape[-1] ** -0.5) if scaling is None else scaling
        memory = self._remember(layer, query, key, value)
        operands = self._operands(memory, query, scaling)
        trace = LayerTrace(
            layer=layer,
            step=self._known.step,
            heads=operands.heads,
            head_importance=operands.head_importance,
            head_keep=operands.heads,
        )
        run = self._cascade if self.algorithm.scope == "cascade" else self._local
        out = memory.calibration.output(run(memory, operands, trace), self.config).flatten(1, 2)
        out = out * trace.heads[:, :, None, None]
        if self.float_error:
            _measure(trace, memory, query, out, scaling, causal)
        if self._settings != self.algorithm.attention:  # later steps read other planes than the prompt
            self._quantize(memory, query, key, value, self.algorithm.attention)
        self._finish(trace)
        return out

    def _check(self, layer: int, query: Tensor, key: Tensor, value: Tensor, causal: bool) -> None:
        fits = query.dim() == 4 and key.dim() == 4 and key.shape == value.shape
        if not fits or key.shape[::3] != query.shape[::3] or query.shape[1] % key.shape[1] or not query.numel():
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (query, key, value))
            raise ValueError(f"query, key, value must be (batch, heads, tokens, D) that fit, not {shapes}")
        check_heads(self.config, query.shape[1], key.shape[1], query.shape[-1])
        self.algorithm.token_ratios(self._layers, key.shape[1])
        self.algorithm.head_ratios(self._layers)
        if layer != self.next_layer:
            raise ValueError(f"layer must be {self.next_layer}, which is next, not {layer!r}")
        if causal and query.shape[2] != key.shape[2]:
            raise ValueError(f"query and key must be of the same new tokens, not {query.shape[2]} and {key.shape[2]}")
        if self._state is not None:
            self._check_next(layer, query, key, causal)

    def _check_next(self, layer: int, query: Tensor, key: Tensor, causal: bool) -> None:
        """Does it go on as it began?"""
        state = self._known
        if query.shape[0] != state.batch or causal != state.causal:
            raise ValueError(f"batch must be the {state.batch} sequences that began: clear the session for others")
        if layer == 0 and not causal:
            raise ValueError("an encoder must run its layers once a sequence: clear the session for another")
        if layer == 0 and key.shape[2] != 1:
            raise ValueError(f"tokens after the prompt must come one at a time, not {key.shape[2]}")
        expected = state.queries if causal else state.ids.shape[1]
        if layer and key.shape[2] != expected:
            raise ValueError(f"layer {layer} must get {expected} tokens, as many as survive, not {key.shape[2]}")

    def _begin(self, query: Tensor, key: Tensor, causal: bool) -> None:
        """A new step: the first one of new sequences, or their next token."""
        batch, heads, queries, _ = query.shape
        tokens = key.shape[2] + self.num_tokens
        if tokens > self.config.max_tokens:
            raise ValueError(f"sequence must have at most {self.config.max_tokens} tokens, not {tokens}")
        if self._state is None:
            if not causal:
                self.algorithm.check_encoder()
            nothing = torch.zeros(batch, heads, dtype=torch.int64)
            table = _Table.of_all(batch, tokens)
            self._state = SessionState(
                batch=batch,
                causal=causal,
                table=table,
                ids=table.ids,
                heads=nothing == 0,
                head_importance=nothing,
            )
        else:
            self._state.table.append(tokens - 1)
            self._state.ids = torch.cat([self._state.ids, self._state.table.ids[:, -1:]], 1)
        self._state.tokens, self._state.queries = tokens, queries
        self._state.step += 1

    @property
    def _settings(self) -> AttentionSettings:
        """What this step runs with."""
        state = self._known
        prompt = self.algorithm.prompt if state.causal and state.step == 0 else None
        return prompt or self.algorithm.attention

    def _quantize(
        self, memory: _Memory, query: Tensor, key: Tensor, value: Tensor, settings: AttentionSettings
    ) -> None:
        """Planes of all tokens so far, by constants of their own."""
        kv_heads = key.shape[1]
        memory.calibration = Calibration.of(query.unflatten(1, (kv_heads, -1)), key, value, settings)
        memory.key = self._plane(memory.calibration.key(key))
        memory.value = self._plane(memory.calibration.value(value))

    def _remember(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> _Memory:
        """The layer's memory with the new tokens in it."""
        state = self._known
        if layer == len(state.layers):
            state.layers.append(self._new_memory(layer, query, key, value))
            return state.layers[layer]
        memory = state.layers[layer]
        memory.key.append(memory.calibration.key(key))
        memory.value.append(memory.calibration.value(value))
        if memory.float_key is not None and memory.float_value is not None:
            memory.float_key.append(key)
            memory.float_value.append(value)
        for table in memory.tables:
            table.append(state.tokens - 1)
        return memory

    def _new_memory(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> _Memory:
        state, scope = self._known, self.algorithm.scope
        kv_heads = key.shape[1]
        calibration = Calibration.of(query.unflatten(1, (kv_heads, -1)), key, value, self._settings)
        # The units of the first layer are the measure of all, if its heads compete with those of later ones.
        measure = state.layers[0].calibration if scope == "cascade" and layer else calibration
        weight = calibration.value_range / measure.value_range.amax(1, keepdim=True) * _HEAD_UNIT
        ratios = self._token_ratios(layer, kv_heads)
        tables = []
        if scope == "layer" or (scope == "head" and len(set(ratios)) == 1):
            tables = [_Table.of_all(state.batch * (1 if scope == "layer" else kv_heads), state.tokens)]
        elif scope == "head":
            tables = [_Table.of_all(state.batch, state.tokens) for _ in range(kv_heads)]
        return _Memory(
            calibration=calibration,
            key=self._plane(calibration.key(key)),
            value=self._plane(calibration.value(value)),
            heads=state.heads if scope == "cascade" else torch.ones_like(state.heads),
            head_importance=torch.zeros_like(state.head_importance),
            head_weight=weight.round()
            .clamp(1, 2**N.WEIGHT_WIDTH - 1)
            .long()
            .repeat_interleave(query.shape[1] // kv_heads, 1),
            tables=tables,
            float_key=_Plane(key, key.dtype) if self.float_error else None,
            float_value=_Plane(value, key.dtype) if self.float_error else None,
        )

    def _plane(self, rows: Tensor) -> _Plane:
        """Rows by token id; an encoder's pruned tokens have none, and zeros in their place."""
        state = self._known
        if rows.shape[2] < state.tokens:
            at = state.ids[:, None, :, None].expand_as(rows)
            rows = rows.new_zeros(*rows.shape[:2], state.tokens, rows.shape[3]).scatter(2, at, rows)
        return _Plane(rows, torch.int16)

    def _operands(self, memory: _Memory, query: Tensor, scaling: float) -> _Operands:
        calibration, cascaded = memory.calibration, self.algorithm.scope == "cascade"
        kv_heads = memory.key.rows.shape[1]
        words, unit = calibration.query(query.unflatten(1, (kv_heads, -1)))
        scale = unit * calibration.key_unit * (scaling * math.log2(math.e))
        try:
            pairs = torch.tensor([scale_of(max(value, 2.0**-300)) for value in scale.flatten().tolist()])
        except ValueError as error:
            raise ValueError(f"layer {self.next_layer}: {error}") from None
        return _Operands(
            query=words,
            key=memory.key.rows,
            value=memory.value.rows,
            scale=pairs[:, 0].view_as(scale),
            shift=pairs[:, 1].view_as(scale),
            heads=memory.heads,
            head_importance=self._known.head_importance if cascaded else memory.head_importance,
            head_weight=memory.head_weight,
        )

    def _finish(self, trace: LayerTrace) -> None:
        state = self._known
        (state.prompt if state.step == 0 else state.generation).add(trace)
        state.next_layer = (trace.layer + 1) % self._layers
        if self.on_layer is not None:
            self.on_layer(trace)

    # Selection -------------------------------------------------------------------------------------------------

    def _cascade(self, memory: _Memory, operands: _Operands, trace: LayerTrace) -> Tensor:
        """One table for all layers: survivors go from layer to layer, and importance stays with all tokens."""
        state, algorithm = self._known, self.algorithm
        following = trace.layer + 1 if trace.layer + 1 < self._layers else None
        table = _Table(ids=state.ids, importance=state.table.importance.gather(1, state.ids))
        token_keep, head_keep = table.size, _count(operands.heads)
        if following is not None and (not state.causal or state.step):
            token_keep = self._token_count(following, operands.key.shape[1])
        if following is not None and not state.step:
            head_keep = self._head_count(following)
        outcome = self._run(
            operands,
            table,
            trace,
            token_keep=token_keep,
            head_keep=head_keep,
            decay=0 if state.causal else algorithm.decay,
        )
        state.table.importance = state.table.importance.scatter(1, table.ids, outcome.importance)
        state.head_importance = trace.head_importance = outcome.head_importance
        state.heads = trace.head_keep = outcome.head_keep
        trace.tables = [TableTrace(ids=table.ids, importance=outcome.importance, keep=outcome.keep)]
        state.ids = table.chosen(outcome.keep).ids
        if not state.causal:
            state.survivors.append(outcome.keep.nonzero()[:, 1].view(state.batch, -1))
        elif following is None:
            self._end_step(operands.key)
        return outcome.out

    def _end_step(self, key: Tensor) -> None:
        """Chooses, among all tokens, those that the first layer of the next step attends."""
        state = self._known
        if state.step == 0:
            self._normalize(state.table)
        keep = self._select("selection", state.table, self._token_count(0, key.shape[1]), key)
        state.ids = state.table.chosen(keep).ids

    def _local(self, memory: _Memory, operands: _Operands, trace: LayerTrace) -> Tensor:
        """Each layer, or each K/V head, keeps its table from step to step."""
        state, layer = self._known, trace.layer
        kv_heads = operands.key.shape[1]
        later = state.causal and state.step == 0 and self.algorithm.normalize  # the host has to normalize first
        head_keep = _count(operands.heads)
        if state.causal and not state.step and self.algorithm.scope == "layer":
            head_keep = self._head_count(layer)
        outcomes = []
        for index, table in enumerate(memory.tables):
            part, kv = operands, 0
            if self.algorithm.scope == "head":
                folded = len(memory.tables) == 1
                part, kv = (operands.folded(), 0) if folded else (operands.of_head(index), index)
            count = self._token_count(layer, kv_heads, kv) if state.causal else table.size
            outcome = self._run(
                part,
                table,
                trace,
                token_keep=table.size if later else count,
                head_keep=head_keep if self.algorithm.scope == "layer" else part.heads.shape[1],
                decay=0 if later else self.algorithm.decay,
            )
            table.importance, keep = outcome.importance, outcome.keep
            if later:
                self._normalize(table)
                keep = self._select(f"layer {layer} selection", table, count, part.key)
            trace.tables += self._table_traces(table, keep)
            memory.tables[index] = table.chosen(keep) if state.causal else table
            outcomes.append(outcome)
        memory.head_importance = trace.head_importance = _join([outcome.head_importance for outcome in outcomes], state)
        memory.heads = trace.head_keep = _join([outcome.head_keep for outcome in outcomes], state)
        return torch.cat([outcome.out.reshape(state.batch, -1, *outcome.out.shape[2:]) for outcome in outcomes], 1)

    def _table_traces(self, table: _Table, keep: Tensor) -> list[TableTrace]:
        """A folded table as the tables of its K/V heads."""
        parts = [tensor.view(self._known.batch, -1, table.size) for tensor in (table.ids, table.importance, keep)]
        return [
            TableTrace(ids=ids, importance=importance, keep=kept)
            for ids, importance, kept in zip(*(part.unbind(1) for part in parts), strict=True)
        ]

    def _run(
        self, operands: _Operands, table: _Table, trace: LayerTrace, *, token_keep: int, head_keep: int, decay: int
    ) -> Outcome:
        """Execute a layer, and count what it costs."""
        state = self._known
        capacity = self.config.buffer_slots // self.config.slices(operands.key.shape[-1])
        if table.size > capacity:
            raise ValueError(f"tokens that a layer attends must be at most {capacity}, not {table.size}")
        settings, queries = self._settings, operands.query.shape[3]
        rows = self.algorithm.importance_rows
        layer = Layer(
            name=f"layer {trace.layer}",
            **vars(operands),
            ids=table.ids,
            importance=table.importance,
            settings=settings,
            flat_limit=flat_limit_of(settings.threshold, self.config) if settings.key_lsb_bits else 0,
            causal=state.causal and state.step == 0,
            accumulate_from=max(0, queries - rows) if rows else 0,
            token_keep=token_keep,
            head_keep=head_keep,
            pin_first=self.algorithm.pin_first,
            pin_last=self._pin_last,
            decay=decay,
        )
        outcome = self.execute(layer, self.config)
        trace.traffic.add(traffic(layer, outcome, self.config, dense_queries=state.queries, dense_keys=state.tokens))
        trace.macs += multiply_accumulates(layer, outcome, self.config)
        trace.dense_macs += 2 * layer.heads.numel() * layer.dim * self._dense_scores()
        trace.rows += int(layer.heads.sum()) * layer.num_queries
        trace.flat_rows += int(outcome.flat.sum())
        return outcome

    def _dense_scores(self) -> int:
        """Scores of a head in dense attention."""
        state = self._known
        if not state.causal:
            return state.queries * state.tokens
        return sum(range(state.tokens - state.queries + 1, state.tokens + 1))

    def _select(self, name: str, table: _Table, token_keep: int, key: Tensor) -> Tensor:
        """A selection without a layer; the table's importance decays."""
        if token_keep >= table.size and not self.algorithm.decay:
            return torch.ones_like(table.ids, dtype=torch.bool)
        batch, none = len(table.ids), key[:, :1, None, :0]
        empty = torch.zeros(batch, 1, dtype=torch.int64)
        layer = Layer(
            name=name,
            query=none,
            key=key[:, :1],
            value=key[:, :1],
            scale=empty + 1,
            shift=empty + 1,
            ids=table.ids,
            importance=table.importance,
            heads=empty > 0,
            head_importance=empty,
            head_weight=empty,
            settings=self._settings,
            flat_limit=0,
            token_keep=token_keep,
            head_keep=1,
            pin_first=self.algorithm.pin_first,
            pin_last=self._pin_last,
            decay=self.algorithm.decay,
        )
        outcome = self.execute(layer, self.config)
        table.importance = outcome.importance
        return outcome.keep

    def _normalize(self, table: _Table) -> None:
        """Importance of the prompt's tokens as if every counted row could have attended each of them."""
        if not self.algorithm.normalize:
            return
        rows = self.algorithm.importance_rows
        first = max(0, table.size - rows) if rows else 0
        could = table.size - torch.arange(table.size).clamp(min=first)
        table.importance = (table.importance * (table.size - first) // could).clamp(max=cascade.LIMIT)

    @property
    def _pin_last(self) -> int:
        """In generation the newest token survives."""
        state = self._known
        return max(self.algorithm.pin_last, 1 if state.step else 0)

    def _token_ratios(self, layer: int, kv_heads: int) -> tuple[float, ...]:
        return self.algorithm.token_ratios(self._layers, kv_heads)[layer]

    def _token_count(self, layer: int, kv_heads: int, kv: int = 0) -> int:
        """Tokens that the layer may attend, of those so far."""
        ratio = self._token_ratios(layer, kv_heads)[kv]
        return self.algorithm.token_count(ratio, self._known.tokens, pin_last=self._pin_last)

    def _head_count(self, layer: int) -> int:
        return keep_count(self.algorithm.head_ratios(self._layers)[layer], self._known.heads.shape[1])


def check_heads(config: Config, heads: int, kv_heads: int, dim: int) -> None:
    """ValueError if ``config`` does not serve a layer of such heads."""
    if dim not in config.dims:
        raise ValueError(f"head dimension must be one of {config.dims} ({config.name}), not {dim}")
    if heads > config.max_heads:
        raise ValueError(f"heads must be at most {config.max_heads} ({config.name}), not {heads}")
    if heads // kv_heads > config.max_group:
        raise ValueError(
            f"heads that share a K/V head must be at most {config.max_group} ({config.name}), not {heads // kv_heads}"
        )


def _finite(tensor: Tensor, owner: str, name: str) -> Tensor:
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


def _count(heads: Tensor) -> int:
    """Surviving heads of a sequence; all have the same number."""
    return int(heads[0].sum())


def _join(parts: list[Tensor], state: SessionState) -> Tensor:
    """(B, H) of parts by K/V head, or of one folded part."""
    return torch.cat([part.reshape(state.batch, -1) for part in parts], 1)


def _measure(trace: LayerTrace, memory: _Memory, query: Tensor, out: Tensor, scaling: float, causal: bool) -> None:
    """Errors of a layer's output against dense float attention of the same inputs."""
    assert memory.float_key is not None and memory.float_value is not None
    want = functional.scaled_dot_product_attention(
        query,
        memory.float_key.rows,
        memory.float_value.rows,
        is_causal=causal and query.shape[2] > 1,
        scale=scaling,
        enable_gqa=True,
    )
    error = out - want
    trace.max_error = float(error.abs().max())
    trace.relative_error = float(error.norm() / want.norm().clamp(min=1e-300))
