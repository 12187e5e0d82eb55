"""The engine whose accelerator is a real board, or a simulated one, behind a serial line."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fpga.host.host import Host, HostError, Line, PortError
from fpga.link.push_command import item_layouts
from fpga.link.result_queue import byte_count, result_layouts
from hdl.spec.config import Config
from sim.engine.engine import EngineError, SetupError
from sim.engine.registry import BOARD
from sim.engine.stream_engine import RawRun, StreamEngine
from sim.engine.timing import MemoryTiming
from sim.transport.complete import open_selections
from sim.transport.memory import MemoryImage
from sim.transport.words import word_count

__all__ = ["FpgaEngine"]


class FpgaEngine(StreamEngine):
    """:class:`sim.engine.engine.Engine` on a board.

    port, baud, timeout, retries, clock: as of :class:`fpga.host.host.Host`. patience: seconds in which the board must
    give a result or take a job, else it is stuck. Cycles of a run are those in which the core had work, even where it
    waited for the line; the cycle of a status counts from the reset. Options of simulated memories are refused. A port
    or board that is not what the caller says is a :class:`sim.engine.engine.SetupError`.
    """

    name = BOARD

    def __init__(
        self,
        config: Config,
        *,
        port: str | Line,
        baud: int = 1_000_000,
        timeout: float = 1.0,
        retries: int = 4,
        patience: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        timing: MemoryTiming | None = None,
        **options: Any,
    ):
        if not patience > 0:
            raise ValueError(f"patience must be more than 0 seconds, not {patience!r}")
        if timing is not None and timing != MemoryTiming():
            raise ValueError("timing must be left out with the engine fpga: a board has its own memory")
        given = [name for name, value in options.items() if value]
        if given:
            raise ValueError(f"{given[0]} must be left out with the engine fpga: a board has no such thing")
        super().__init__(config)
        self.patience = patience
        self._clock = clock
        try:
            self.host = Host(port, baud=baud, timeout=timeout, retries=retries, clock=clock)
            with contextlib.ExitStack() as stack:
                stack.callback(self.host.close)
                self.identity = self.host.connect(config)
                stack.pop_all()
        except PortError as error:
            raise SetupError(str(error)) from error
        except HostError as error:
            raise EngineError(str(error)) from error

    def close(self) -> None:
        self.host.close()

    @property
    def memory(self) -> str:
        return "board"

    def _new_image(self) -> MemoryImage:
        return MemoryImage(self.config, origin=self.identity.window_base)

    def _simulate(self, image, items, expected, resume, progress):
        base, words = self.identity.window_base, self.identity.window_words
        if image.limit > base + words:
            raise EngineError(
                f"the run needs {image.limit - base} words of each memory channel, but the board has {words}"
            )
        try:
            if not resume:
                self.host.reset()
            for channel, data in enumerate(image.channels()):
                first = base * self.config.channel_width // 32
                if len(data) > first:
                    self.host.write(channel, base, data[first:].tobytes())
            self.host.counters(clear=True)
            results = _Results(self.config, items, expected)
            self._exchange(_queues(self.config, items), results, progress)
            counters = self.host.counters()
        except HostError as error:
            raise EngineError(str(error)) from error
        return results.raw(counters.values, counters.words_read)

    def _exchange(self, queues: list[_Queue], results: _Results, progress: Callable[[int, int], None] | None) -> None:
        """Items in and results out by turns, so that neither side waits for the other, until nothing more comes."""
        moved = self._clock()
        while True:
            taken = sum(queue.push(self.host) for queue in queues)
            records = self.host.pull()
            for record in records:
                results.add(record.stream, record.item, record.stamp)
            if taken or records:
                moved = self._clock()
            elif results.complete:
                return
            elif self._clock() - moved > self.patience:
                raise EngineError(
                    f"the board is stuck: no result for {self.patience:g} seconds, "
                    f"{len(results.stamps)} of {results.expected} jobs answered"
                )
            if progress and records:
                progress(len(results.stamps), results.stamps[-1] if results.stamps else 0)


class _Queue:
    """Items of a stream that the board has not taken yet."""

    def __init__(self, stream: str, items: list[bytes]):
        self.stream, self.items = stream, items
        self.next, self.some = 0, 2

    def push(self, host: Host) -> int:
        """Send some; twice as many as the board took the last time, for what it does not take is sent in vain."""
        if self.next == len(self.items):
            return 0
        taken = host.push(self.stream, self.items[self.next : self.next + self.some])
        self.next += taken
        self.some = max(1, 2 * taken)
        return taken


def _queues(config: Config, items: dict[str, np.ndarray]) -> list[_Queue]:
    """All items of a run, each in whole bytes."""
    return [
        _Queue(name, [row.tobytes()[: byte_count(shape)] for row in np.ascontiguousarray(items[name])])
        for name, shape in item_layouts(config).items()
    ]


class _Results:
    """Records of a run, as they come."""

    def __init__(self, config: Config, items: dict[str, np.ndarray], expected: int):
        self.config, self.expected = config, expected
        self.shapes = result_layouts(config)
        self.items: dict[str, list[bytes]] = {name: [] for name in self.shapes}
        self.stamps: list[int] = []
        self._layers = items["layer"]

    def add(self, stream: str, item: bytes, stamp: int | None) -> None:
        self.items[stream].append(item)
        if stamp is not None:
            self.stamps.append(stamp)

    @property
    def complete(self) -> bool:
        """Every status is here, and the survivors of each selection: the last of them may come after the status."""
        if len(self.stamps) < self.expected:
            return False
        return open_selections(self.config, self._layers, self._words("status"), self._words("survivor")) <= 0

    def _words(self, stream: str) -> np.ndarray:
        """uint32 (items, words)."""
        words = word_count(self.shapes[stream].size)
        padded = b"".join(item.ljust(4 * words, b"\0") for item in self.items[stream])
        return np.frombuffer(padded, dtype="<u4").reshape(-1, words)

    def raw(self, counters: dict[str, int], words_read: list[int]) -> RawRun:
        return RawRun(
            **{name: self._words(name) for name in self.items},
            status_cycles=self.stamps,
            cycles=counters["cycles"],
            counters=counters,
            words_read=words_read,
            addresses=None,
        )
