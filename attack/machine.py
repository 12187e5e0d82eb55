"""The Verilated machine of a campaign: batches of commands, pauses of the host, cuts by reset, other windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attack.commands import Command, stream_items
from attack.memory import Memory
from hdl.spec.config import Config
from sim.engine.engine import EngineError
from sim.engine.stream_engine import RawRun
from sim.engine.timing import MemoryTiming, stall_threshold
from sim.engine.verilator import VerilatorEngine

__all__ = ["PAUSE", "Machine", "StuckError"]

PAUSE = 10_000
"""Cycles in which a host offers nothing and takes nothing."""
_WATCHDOG = 60_000
_RUNNING, _DONE, _STUCK, _FAULT = range(4)


class StuckError(EngineError):
    """Nothing moves any more."""


class Machine(VerilatorEngine):
    """The engine with the timing of each run, and with memories instead of images.

    model: folder of the model (:func:`attack.models.core_model`); None: the plain one. seed: of its bits at power-up.
    """

    def __init__(self, config: Config, *, model: Path | None = None, seed: int = 0):
        super().__init__(config, folder=model, timing=MemoryTiming(seed=seed), watchdog=_WATCHDOG)

    def cut(self, memory: Memory, commands: Sequence[Command], cycles: int) -> bool:
        """Begin a run from reset and leave it after so many cycles, for a run that resets; whether it was under way."""
        self._begin(memory, commands, resume=False)
        return self._library.step(self._handle, cycles) == _RUNNING

    def attack(
        self, memory: Memory, commands: Sequence[Command], *, resume: bool = False, pauses: Sequence[int] = ()
    ) -> RawRun:
        """Run all commands, jobs or layers, to the last status, and on until nothing more comes.

        pauses: cycles in which the host falls silent for PAUSE cycles. EngineError for a read outside the window,
        StuckError.
        """
        items = self._begin(memory, commands, resume=resume)
        library, handle = self._library, self._handle
        for cycle in pauses:
            if library.step(handle, max(1, cycle - library.cycle(handle))) == _RUNNING:
                library.set_host(handle, 1 << 32, self.timing.seed, self.watchdog)
                library.step(handle, PAUSE)
                library.set_host(handle, stall_threshold(self.timing.host_stall), self.timing.seed, self.watchdog)
        state = _RUNNING
        while state == _RUNNING:
            state = library.step(handle, 1 << 20)
        if state == _DONE:
            self._finish(items["layer"], len(commands))
            state = library.step(handle, 0)
        if state == _STUCK:
            raise StuckError(str(self._stuck(library.answered(handle), len(commands), library.cycle(handle))))
        if state == _FAULT:
            channel, address = library.fault_channel(handle), library.fault_address(handle)
            raise EngineError(f"channel {channel} was read at {address:#x}, outside {memory.base:#x}…{memory.limit:#x}")
        return self._results()

    @property
    def cycle(self) -> int:
        """Cycles of the run."""
        return self._library.cycle(self._handle)

    def _begin(self, memory: Memory, commands: Sequence[Command], *, resume: bool) -> dict[str, np.ndarray]:
        self._configure(memory)  # type: ignore[arg-type]
        items = stream_items(commands, self.config)
        for which, words in enumerate(items.values()):
            self._library.set_items(self._handle, which, words.ctypes.data, len(words))
        self._library.start(self._handle, len(commands), not resume, memory.base, memory.limit)
        return items
