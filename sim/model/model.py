"""Analytic model of the accelerator's cycles: jobs, loads and rows instead of registers (docs/model.md).

It follows each job through the resources that can hold it back: memory channels, pages of the buffers, Q×K, softmax,
top-k engines, prob×V. A stage is described by when it can begin, how long it is busy and how far it runs after the
stage before it; latencies are read from the RTL classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from hdl.spec.config import Config
from sim.engine.timing import MemoryTiming
from sim.model.machine import Machine
from sim.model.prediction import Prediction
from sim.model.shape import Shape

__all__ = ["predict"]


def predict(
    shapes: Sequence[Shape],
    config: Config,
    timing: MemoryTiming | None = None,
    *,
    topk_parallelism: int | None = None,
    seed: int = 0,
) -> Prediction:
    """Cycles of jobs, given in this order as fast as they are taken, with an ideal memory.

    topk_parallelism: another one than ``config``'s, also one below ``lanes``, of which there is no RTL.
    seed: of the V rows that generation keeps, where a shape does not say them.
    """
    timing = timing or MemoryTiming()
    if timing.mode != "ideal" or timing.stall or timing.host_stall or timing.skew:
        raise ValueError("timing must be ideal, without stalls and skew: the model knows no other memory")
    if not shapes:
        raise ValueError("shapes must not be empty")
    return Machine(config, timing, topk_parallelism or config.topk_parallelism, seed, shapes).run()
