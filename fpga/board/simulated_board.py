"""A whole board in Verilator, behind its serial line, and a pseudo-terminal for it."""

from __future__ import annotations

import ctypes
import inspect
import os
import select
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect
from rich.console import Console

from fpga.board.system import System
from fpga.memory.sdram_model import SdramModel
from fpga.spec.settings import SystemSettings
from golden.host.cache import source_digest
from hdl import verilog
from hdl.spec.config import Config
from sim.engine.verilator import CACHE, cached_build, check_tools, compile_library, model_key

__all__ = ["BoardModel", "BoardServer", "SimulatedBoard", "simulated_settings"]

HARNESS = Path(__file__).with_name("board_sim.cpp")
CLOCK_HZ = 90_000_000
MEMORY_WORDS = {"block": 4096, "sdram": 65_536}


def simulated_settings(config: Config, *, memory: str = "block", baud: int | None = None) -> SystemSettings:
    """A board that simulates quickly: the fastest line that its clock allows, and a small memory."""
    return SystemSettings(
        core=config,
        clock_hz=CLOCK_HZ,
        baud=CLOCK_HZ // 4 if baud is None else baud,
        memory=memory,
        memory_words=MEMORY_WORDS.get(memory, 2),
    )


class SimulatedBoard(wiring.Component):
    """The system of a design with what is soldered to it: with the memory "sdram" a chip that checks its timing.

    Members
    -------
    rx : In(1), init=1     serial line from the host
    tx : Out(1), init=1    serial line to it
    idle, busy, error : Out(1)    lights
    violation : Out(8)     first rule of the memory chip that was broken, :class:`fpga.memory.sdram_model.Rule`
    """

    def __init__(self, settings: SystemSettings):
        self.settings = settings
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "idle": Out(1),
                "busy": Out(1),
                "error": Out(1),
                "violation": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        settings = self.settings
        m.submodules.system = system = System(settings)
        m.d.comb += system.rx.eq(self.rx)
        m.d.comb += [getattr(self, name).eq(getattr(system, name)) for name in ("tx", "idle", "busy", "error")]
        if settings.memory == "sdram":
            m.submodules.chip = chip = SdramModel(
                settings.memory_words, clock_hz=settings.clock_hz, word_bits=settings.core.channel_width
            )
            connect(m, system.sdram, chip.pins)
            m.d.comb += self.violation.eq(chip.violation)
        return m


# Model ---------------------------------------------------------------------------------------------------------

_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "new": (ctypes.c_void_p, [ctypes.c_uint32]),
    "free": (None, [ctypes.c_void_p]),
    "send": (None, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64]),
    "step": (None, [ctypes.c_void_p, ctypes.c_uint64]),
    "take": (ctypes.c_uint64, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64]),
    "lights": (ctypes.c_uint32, [ctypes.c_void_p]),
    "violation": (ctypes.c_uint32, [ctypes.c_void_p]),
    "quiet": (ctypes.c_int, [ctypes.c_void_p]),
    "bad_bytes": (ctypes.c_uint64, [ctypes.c_void_p]),
    "cycle": (ctypes.c_uint64, [ctypes.c_void_p]),
}


def build(settings: SystemSettings, *, cache: Path = CACHE, console: Console | None = None) -> Path:
    """Folder with the Verilator model of a board; built if it is not in the cache."""
    check_tools("a simulated board")
    console = console or Console(stderr=True)
    name = f"board-{settings.core.name}-{settings.memory}"
    compiler = Path(inspect.getfile(compile_library))  # its options shape the model, too
    texts = [HARNESS.read_text(), compiler.read_text(), repr(settings)]
    key = model_key(settings.core, [*texts, source_digest("hdl", "fpga")])

    def fill(work: Path) -> None:
        with console.status(f"Verilog of {name}"):
            text = verilog.to_verilog(settings.core, top=SimulatedBoard(settings))
        (work / "spatten.v").write_text(text)
        with console.status(f"Verilator model of {name} (once per settings and source)"):
            compile_library(work, HARNESS)

    return cached_build(cache / f"{name}-{key}", fill)


class BoardModel:
    """A simulated board from power-on: bytes to its line and from it, and its lights."""

    def __init__(self, settings: SystemSettings, *, cache: Path = CACHE, console: Console | None = None):
        self.settings = settings
        self._library = ctypes.CDLL(str(build(settings, cache=cache, console=console) / "libspatten.so"))
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(self._library, f"board_{name}")
            function.restype, function.argtypes = result, arguments
        self._handle = self._library.board_new(settings.cycles_per_bit)
        self._buffer = ctypes.create_string_buffer(4096)

    def close(self) -> None:
        if self._handle:
            self._library.board_free(self._handle)
            self._handle = None

    def send(self, data: bytes) -> None:
        """Bytes for the line to the board; they take their time."""
        self._library.board_send(self._handle, data, len(data))

    def step(self, cycles: int) -> bytes:
        """Run at most so many cycles, fewer if an answer ends or the board gets quiet; the bytes that came."""
        self._library.board_step(self._handle, cycles)
        received = bytearray()
        while count := self._library.board_take(self._handle, self._buffer, len(self._buffer)):
            received += self._buffer.raw[:count]
        return bytes(received)

    @property
    def quiet(self) -> bool:
        """Nothing is on the lines, or will be before the host sends something."""
        return bool(self._library.board_quiet(self._handle))

    @property
    def idle(self) -> bool:
        return bool(self._library.board_lights(self._handle) & 1)

    @property
    def busy(self) -> bool:
        return bool(self._library.board_lights(self._handle) & 2)

    @property
    def error(self) -> bool:
        return bool(self._library.board_lights(self._handle) & 4)

    @property
    def violation(self) -> int:
        """Rule of the memory chip that was broken; 0: none."""
        return self._library.board_violation(self._handle)

    @property
    def bad_bytes(self) -> int:
        """Bytes from the board without a stop bit."""
        return self._library.board_bad_bytes(self._handle)

    @property
    def cycle(self) -> int:
        """Cycles since power-on."""
        return self._library.board_cycle(self._handle)


# Server --------------------------------------------------------------------------------------------------------


class BoardServer:
    """A board on a pseudo-terminal, whose ``path`` a host opens like a serial port. Hosts may come and go.

    board: anything with ``send``, ``step``, ``quiet`` and ``close`` as :class:`BoardModel` has them.
    """

    STEP = 50_000
    """Most cycles between two looks at the terminal."""

    WAITING = 4096
    """While so many bytes for the host wait, nothing is taken from it."""

    NAP = 0.05
    """Seconds between two looks at ``stopped``, while nothing happens."""

    def __init__(self, board: Any):
        self.board = board
        self._master, self._slave = os.openpty()
        # The server keeps the host's side open, too, so that the line lives on when a host goes.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._answers = bytearray()

    def serve(self, stopped: Callable[[], bool]) -> None:
        """Until ``stopped()``. While the board is quiet, time stands still in it, and no processor time is used."""
        while not stopped():
            self._receive(wait=self.board.quiet and not self._answers)
            if not self.board.quiet:
                self._answers += self.board.step(self.STEP)
            self._answer(wait=self.board.quiet)

    def _receive(self, wait: bool) -> None:
        if len(self._answers) < self.WAITING and select.select([self._master], [], [], self.NAP if wait else 0)[0]:
            self.board.send(os.read(self._master, 65_536))

    def _answer(self, wait: bool) -> None:
        """As many bytes as the terminal takes."""
        if self._answers and select.select([], [self._master], [], self.NAP if wait else 0)[1]:
            del self._answers[: os.write(self._master, self._answers)]

    def close(self) -> None:
        os.close(self._master)
        os.close(self._slave)
        self.board.close()

    def __enter__(self) -> BoardServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
