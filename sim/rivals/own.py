"""SpAtten's column: cycles of the project's model of its RTL, layer by layer, while a session runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from golden.host.session import Session
from golden.layers.layer import Layer, Outcome
from golden.layers.run_layer import run_layer
from hdl.spec.config import Config
from sim.energy.activity import Activity
from sim.energy.machine import Counted, blocks_of
from sim.model.model import predict
from sim.model.shape import Shape
from sim.rivals.work import Work

__all__ = ["Own", "shapes_of_layer"]


class Own:
    """Counts what layers cost on a configuration; :meth:`execute` is the ``execute`` of the session.

    steps_only: a language model's prompt does not count.
    """

    def __init__(self, config: Config, *, steps_only: bool):
        self.config, self.steps_only = config, steps_only
        self.session: Session | None = None
        self.work = Work()
        self.blocks: dict[str, Activity] = {}

    def execute(self, layer: Layer, config: Config) -> Outcome:
        """The golden model's outcome."""
        outcome = run_layer(layer, config)
        state = self.session.state if self.session else None
        if state is not None and layer.num_queries and not (self.steps_only and state.is_prompt):
            # K/V heads with tables of their own are sequences of the layer.
            each = len(layer.ids) // state.batch
            for first in range(0, len(layer.ids), each):
                parts = range(first, first + each)
                self.count([shape for index in parts for shape in shapes_of_layer(layer, index, outcome, config)])
        return outcome

    def count(self, shapes: Sequence[Shape]) -> None:
        """Jobs that wait for nothing but each other, such as those of a layer."""
        found = predict(shapes, self.config)
        scores = sum(shape.scores + shape.flat_rows * shape.keys for shape in shapes)
        rows = sum(shape.rows for shape in shapes)
        kept = sum(int(shape.lengths.clip(max=shape.value_keep).sum()) for shape in shapes)
        dim = shapes[0].dim
        widths = {name: _mean(shapes, name) for name in ("key_bits", "value_bits")}
        counters = dict(found.work) | {"qk_useful": scores, "rows": rows}
        for name, activity in blocks_of(Counted(counters=counters, dim=dim, **widths), self.config).items():
            self.blocks.setdefault(name, Activity()).add(activity)
        word = self.config.channel_width / 8
        self.work.add(
            Work(
                rows=rows,
                scored=scores,
                kept=kept,
                products=dim * (scores + kept),
                exponentials=scores,
                query_bytes=word * found.work["query_words"],
                key_bytes=word * (found.work["key_words"] + found.work["key_lsb_words"]),
                value_bytes=word * found.work["value_words"],
                cycles=found.cycles,
                cycles_unsorted=found.cycles,
            )
        )


def _mean(shapes: Sequence[Shape], name: str) -> float:
    """Of the jobs, each weighing as much as its K."""
    return sum(getattr(shape, name) * shape.keys for shape in shapes) / sum(shape.keys for shape in shapes)


def shapes_of_layer(layer: Layer, index: int, outcome: Outcome, config: Config) -> Iterator[Shape]:
    """Jobs of a sequence of a layer."""
    settings = layer.settings
    for chunk in layer.chunks(config):
        rows = slice(chunk.start, chunk.stop)
        for kv, places in layer.live_groups(index):
            yield Shape(
                dim=layer.dim,
                keys=chunk.keys,
                rows=len(places) * (chunk.stop - chunk.start),
                group=len(places),
                causal=layer.causal,
                generation=layer.gathers,
                query_bits=settings.query_bits,
                key_bits=settings.key_bits,
                key_lsb_bits=settings.key_lsb_bits,
                value_bits=settings.value_bits,
                value_keep=settings.keep_count(chunk.keys),
                flat_rows=int(outcome.flat[index, kv, places, rows].sum()),
                ids=None if layer.causal else layer.ids[index].numpy(),
                skew=kv % config.num_channels,
            )
