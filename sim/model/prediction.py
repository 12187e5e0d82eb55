"""What the model tells of a run."""

from __future__ import annotations

import dataclasses

from hdl.spec.config import Config

__all__ = ["WORK", "Prediction"]

WORK = ("qk_beats", "pv_beats", "topk_busy", "query_words", "key_words", "key_lsb_words", "value_words")
"""What is counted, by the names of the counters (hdl/control/counters.py); topk_busy is of all engines."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """Cycles of a run, and the work of each resource by the names of the counters (hdl/control/counters.py)."""

    cycles: float
    finished: list[float]
    """by job: its status"""
    work: dict[str, float]
    """of :data:`WORK`"""
    config: Config

    @property
    def utilization(self) -> dict[str, float]:
        """Share of the cycles that each resource works; the channels together."""
        words = sum(value for name, value in self.work.items() if name.endswith("_words"))
        return {
            "qk": self.work["qk_beats"] / self.cycles,
            "pv": self.work["pv_beats"] / self.cycles,
            "topk": self.work["topk_busy"] / (self.cycles * self.config.num_topk_engines),
            "channels": words / (self.cycles * self.config.num_channels),
        }

    @property
    def bound(self) -> str:
        """The busiest resource."""
        return max(self.utilization, key=lambda name: self.utilization[name])
