"""One run of all systems on the same rows (docs/rivals.md)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from golden.host.algorithm import Algorithm
from golden.host.session import Session
from hdl.spec.config import Config
from sim.common.devices import device_name, devices
from sim.common.threads import one_thread
from sim.energy.activity import Activity, joules
from sim.energy.constants import SETS
from sim.evaluate.task import Task, Value
from sim.evaluate.units import load_model
from sim.rivals.own import Own
from sim.rivals.rival import RIVALS
from sim.rivals.taps import ClockTap, RivalTap, Tap, attended_by
from sim.rivals.work import Work

__all__ = ["OWN", "QUOTED", "Column", "Comparison", "compare_models"]

OWN = "spatten"
"""Name of SpAtten's column."""

QUOTED = {"a3": 221.0, "mnnfast": 120.0, OWN: 360.0}
"""GOP/s of the paper's Table III."""

_HALF = 0.5
"""Table III counts one operation for each of A3's multiplications, and two for SpAtten's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """A system's figures."""

    name: str
    work: Work
    blocks: dict[str, Activity]
    dense_products: int
    """of the same rows, for all systems the same"""
    attended: int
    """keys of all rows, likewise"""
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)
    """of the quality; none without a model"""

    def gops(self, cycles: float | None = None) -> float:
        """Effective GOP/s at 1 GHz."""
        return 2 * self.dense_products / (cycles or self.work.cycles)

    @property
    def as_counted_there(self) -> float:
        """The same in the way of the paper's Table III."""
        return self.gops() * (_HALF if self.name.startswith("a3") else 1)

    def to_json(self) -> dict[str, Any]:
        energies = {name: sum(joules(self.blocks, constants).values()) for name, constants in SETS.items()}
        per_joule = [2e-9 * self.dense_products / energy for energy in energies.values()]
        return {
            "cycles": self.work.cycles,
            "cycles_without_sorting": self.work.cycles_unsorted,
            "gops": self.gops(),
            "gops_without_sorting": self.gops(self.work.cycles_unsorted),
            "gops_as_table3_counts": self.as_counted_there,
            "bytes": self.work.bytes,
            "scored_share": self.work.scored / self.attended,
            "kept_share": self.work.kept / self.attended,
            "joules": energies["40nm"],
            "gop_per_j": per_joule[0],
            "gop_per_j_low": min(per_joule),
            "gop_per_j_high": max(per_joule),
            "energy_kind": "estimated",
            "blocks": {name: joules({name: each}, SETS["40nm"])[name] for name, each in self.blocks.items()},
            "work": dataclasses.asdict(self.work),
            **self.figures,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """All columns of a run."""

    subject: dict[str, Any]
    columns: list[Column]
    seconds: dict[str, float]
    """PyTorch's own attention of the same rows in fp32, by device; none without a model"""

    def to_json(self) -> dict[str, Any]:
        first = self.columns[0]
        return {
            **self.subject,
            "rows": first.work.rows,
            "dense_products": first.dense_products,
            "columns": {column.name: column.to_json() for column in self.columns},
            "quoted": {"source": "paper, Table III", "gops": QUOTED, "gop_per_j": {OWN: 382.0}},
            "pytorch": {
                device: {
                    "name": device_name(device),
                    "seconds": seconds,
                    "gops": 2e-9 * first.dense_products / seconds,
                    "kind": "measured",
                }
                for device, seconds in self.seconds.items()
            },
        }


@one_thread()
def compare_models(
    task: Task, algorithm: Algorithm, *, config: Config, progress: Callable[[str], None] = lambda name: None
) -> Comparison:
    """All systems on the items of a task, and SpAtten with an algorithm on a configuration."""
    model, _ = load_model(type(task), task.model)
    seconds, floats = {}, {}
    for device in devices():
        progress(f"PyTorch on {device}")
        clock = ClockTap(device)
        floats = _through(task, model, clock)
        seconds[device] = clock.seconds
    columns: list[Column] = []
    for rival in RIVALS.values():
        progress(rival.name)
        tap = RivalTap(rival)
        figures = task.figures(floats, _through(task, model, tap))
        counts = {"dense_products": tap.work.dense_products, "attended": tap.work.attended}
        columns.append(Column(name=rival.name, work=tap.work, blocks=tap.blocks, figures=figures, **counts))
    progress(OWN)
    columns.append(_own(task, model, algorithm, config, floats, columns[0]))
    return Comparison(subject=task.meta, columns=columns, seconds=seconds)


def _through(task: Task, model: Any, tap: Tap) -> dict[str, Value]:
    """Values of all items, with a tap's attention."""
    values: dict[str, Value] = {}
    for items in task.batches(task.items):
        with attended_by(model.model, tap, task.context):
            found = task.values(model, items, task.context, None)
        values.update(zip((item.key for item in items), found, strict=True))
    return values


def _own(
    task: Task, model: Any, algorithm: Algorithm, config: Config, floats: dict[str, Value], dense: Column
) -> Column:
    """SpAtten's column; bytes are those of words, and of planes that the host makes anew."""
    own = Own(config, steps_only=task.CAUSAL)
    own.session = session = Session(algorithm, config, execute=own.execute)
    values: dict[str, Value] = {}
    moved = dict.fromkeys(("requantized", "ids", "scales"), 0.0)
    for items in task.batches(task.items):
        found = task.values(model, items, task.context, session)
        values.update(zip((item.key for item in items), found, strict=True))
        totals = session.generation if task.CAUSAL else session.prompt
        for name in moved:
            moved[name] += getattr(totals.traffic, name)
    own.work.value_bytes += moved["requantized"]
    own.blocks["dram"].fetched += 8 * moved["requantized"]
    figures = task.figures(floats, values) | {"host_bytes": moved}
    counts = {"dense_products": dense.dense_products, "attended": dense.attended}
    return Column(name=OWN, work=own.work, blocks=own.blocks, figures=figures, **counts)
