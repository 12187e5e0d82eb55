"""A Verilated AXI top with its memory: registers, the interrupt and time, as software sees them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hdl.spec.config import Config
from sim.common.stopwatch import Stopwatch
from sim.engine.engine import EngineError
from sim.engine.timing import MemoryTiming, stall_threshold
from sim.transport.host_memory import HostMemory

__all__ = ["OUTSTANDING", "AxiMachine"]

OUTSTANDING = 16
"""Bursts that a bus of the memory takes before it has answered the first."""
CONTROL_LATENCY = 20
"""Cycles of the bus of commands and results, where the memory of the channels is HBM2."""

_RUNNING, _INTERRUPT, _STUCK, _BREACH = range(4)
_CHUNK = 200_000

_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "new": (ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]),
    "free": (None, [ctypes.c_void_p]),
    "set_ideal": (None, [ctypes.c_void_p] + [ctypes.c_uint32] * 3 + [ctypes.c_uint64] * 2 + [ctypes.c_uint32]),
    "set_hbm2": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32]),
    "set_host": (None, [ctypes.c_void_p] + [ctypes.c_uint64] * 3),
    "set_memory": (
        None,
        [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_int],
    ),
    "reset": (None, [ctypes.c_void_p]),
    "run": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_uint64]),
    "write": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32]),
    "read": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p]),
    "cycle": (ctypes.c_uint64, [ctypes.c_void_p]),
    "irq": (ctypes.c_int, [ctypes.c_void_p]),
    "breach": (ctypes.c_char_p, [ctypes.c_void_p]),
    "words_read": (ctypes.c_uint64, [ctypes.c_void_p, ctypes.c_int]),
    "num_addresses": (ctypes.c_uint64, [ctypes.c_void_p, ctypes.c_int]),
    "addresses": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]),
}


class AxiMachine:
    """A model that was built (:func:`sim.engine.axi.build.build`); a :class:`sim.transport.device.Transport`.

    watchdog: cycles without a transfer on any bus after which the hardware counts as stuck. max_cycles: most cycles
    from :meth:`begin`. simulating: counts the time in the model. on_wait: called with the cycles since :meth:`begin`
    when time has passed. EngineError for hardware that is stuck, breaks the protocol of a bus, or refuses an access to
    a register.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        timing: MemoryTiming,
        *,
        watchdog: int,
        max_cycles: int,
        trace: Path | None = None,
        record_addresses: bool = False,
        simulating: Stopwatch | None = None,
    ):
        self.config, self.timing = config, timing
        self.watchdog, self.max_cycles, self.record_addresses = watchdog, max_cycles, record_addresses
        self.memory = HostMemory(0)
        self._simulating = simulating or Stopwatch()
        self.on_wait: Callable[[int], None] = lambda cycles: None
        self._start = 0
        library = ctypes.CDLL(str(folder / "libspatten.so"))
        self._call: dict[str, Any] = {}
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(library, f"axi_{name}")
            function.restype, function.argtypes = result, arguments
            self._call[name] = function
        seed = timing.seed % 0x7FFFFFFF + 1
        self._handle = self._call["new"](str(trace).encode() if trace is not None else None, seed)
        self._do("set_host", stall_threshold(timing.host_stall), timing.seed, watchdog)

    def _do(self, name: str, *arguments: Any) -> Any:
        if not self._handle:
            raise EngineError("engine is closed")
        with self._simulating:
            return self._call[name](self._handle, *arguments)

    def close(self) -> None:
        if self._handle:
            self._call["free"](self._handle)
            self._handle = None

    # Time ------------------------------------------------------------------------------------------------------

    @property
    def cycle(self) -> int:
        """Cycles since reset."""
        return self._do("cycle")

    def reset(self) -> None:
        """A reset pulse, with buses on which nothing is in flight."""
        timing, channels = self.timing, self.config.num_channels
        threshold, values = stall_threshold(timing.stall), timing.hbm2_of(self.config).values()
        for channel in range(channels):
            if timing.mode == "ideal":
                self._set_ideal(channel, timing.channel_latency(channel), timing.depth, threshold)
            elif not self._do("set_hbm2", channel, values.ctypes.data, len(values), OUTSTANDING):
                raise EngineError(f"sim/engine/hbm2.hpp does not have the {len(values)} parameters of HBM2Timing")
        latency = timing.channel_latency(channels) if timing.mode == "ideal" else CONTROL_LATENCY
        self._set_ideal(channels, latency, max(timing.depth, latency + 16), threshold)
        self._do("reset")

    def _set_ideal(self, channel: int, latency: int, depth: int, threshold: int) -> None:
        self._do("set_ideal", channel, latency, depth, threshold, self.timing.seed, OUTSTANDING)

    def begin(self, origins: Sequence[int]) -> None:
        """``memory`` is that of a run, and grows no more; ``origins``: addresses of the words 0 of its channels."""
        memory, self._start = self.memory, self.cycle
        words = np.array(origins, dtype=np.uint64)
        size, record = len(memory.bytes), int(self.record_addresses)
        self._do("set_memory", memory.bytes.ctypes.data, memory.base, size, words.ctypes.data, record)

    def wait(self) -> None:
        """Until the interrupt, at most some hundred thousand cycles."""
        if self._do("irq"):
            return
        left = self.max_cycles - (self.cycle - self._start)
        if left <= 0:
            raise EngineError(f"run is longer than {self.max_cycles} cycles")
        state = self._do("run", min(_CHUNK, left))
        if state == _BREACH:
            raise EngineError(f"protocol of bus {self._do('breach').decode()} (cycle {self.cycle})")
        if state == _STUCK:
            raise EngineError(f"hardware is stuck: no transfer for {self.watchdog} cycles, at cycle {self.cycle}")
        self.on_wait(self.cycle - self._start)

    # Registers -------------------------------------------------------------------------------------------------

    def read32(self, offset: int) -> int:
        word = ctypes.c_uint32()
        self._okay(self._do("read", offset, ctypes.byref(word)), "read", offset)
        return word.value

    def write32(self, offset: int, word: int) -> None:
        self._okay(self._do("write", offset, word), "write", offset)

    @staticmethod
    def _okay(response: int, what: str, offset: int) -> None:
        if response:
            told = "nothing" if response < 0 else f"response {response}"
            raise EngineError(f"{what} of register {offset:#x} was answered by {told}")

    # What the memory saw ---------------------------------------------------------------------------------------

    def words_read(self) -> list[int]:
        """Of each channel since :meth:`begin`."""
        return [self._do("words_read", channel) for channel in range(self.config.num_channels)]

    def addresses(self) -> list[np.ndarray]:
        """Word addresses of each channel since :meth:`begin`, uint32, if they are recorded."""
        found = []
        for channel in range(self.config.num_channels):
            count = self._do("num_addresses", channel)
            raw = ctypes.string_at(self._do("addresses", channel), 4 * count) if count else b""
            found.append(np.frombuffer(raw, dtype="<u4"))
        return found
