"""What software costs beside the AXI top: process time of a host a layer and token of generation."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from golden.host.session import Session
from golden.layers.layer import Layer, Outcome
from golden.layers.run_layer import run_layer
from golden.models.load import CausalModel, load_model
from hdl.spec.config import PRESETS, Config
from sim.bench.record import Record
from sim.common.options import algorithm_of
from sim.common.settings import Settings
from sim.common.threads import one_thread
from sim.engine.axi.engine import AxiEngine
from sim.run.accelerator import Accelerator

__all__ = ["bench_host_time"]

PRESET, MODEL, TOKENS, STEPS = "eighth", "smollm2", 512, 3
"""The last ``STEPS`` of so many tokens are measured."""
TEXT = "The history of computing is a history of moving less data. "


@one_thread()
def bench_host_time() -> Record:
    """Session, placing of rows, tables and commands, rings, registers, and reading of results.

    Neither the model's other layers nor the simulated accelerator count, nor the golden model beside it. The prompt
    runs on the golden model, and so the first step writes all planes: it does not count, either.
    """
    config, model = PRESETS[PRESET], load_model(MODEL)
    assert isinstance(model, CausalModel)
    engine = AxiEngine(config)
    with engine:
        session = _TimedSession(engine, config)
        prompt = TOKENS - STEPS - 1
        ids = (model.encode(TEXT) * prompt)[:prompt]
        model.generate(torch.tensor([ids]), STEPS + 2, session)
    seconds = [mine for step, mine in session.seconds if step > 1]
    return Record(
        name="axi.host_ms_per_layer_token",
        value=1e3 * sum(seconds) / len(seconds),
        unit="ms",
        better="lower",
        goal=2.0,
        preset=config.name,
        memory=engine.memory,
        command="spatten bench ip",
    )


class _TimedSession(Session):
    """A session whose prompt runs on the golden model, and the rest on an engine."""

    def __init__(self, engine: AxiEngine, config: Config):
        self.engine, self.accelerator = engine, Accelerator(engine, config, compare=False)
        self.seconds: list[tuple[int, float]] = []
        """(step, process time of the host) of each layer"""
        super().__init__(algorithm_of(None, Settings(), config), config, execute=self._execute)

    def _execute(self, layer: Layer, config: Config) -> Outcome:
        return (run_layer if layer.causal else self.accelerator.execute)(layer, config)

    def attention(self, layer: int, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        before = self._elapsed()
        out = super().attention(layer, query, key, value, **options)
        self.seconds.append((self._known.step, self._elapsed() - before))
        return out

    def _elapsed(self) -> float:
        """Process time of the host."""
        return time.process_time() - self.engine.simulating.seconds - self.accelerator.checking.seconds
