"""Timing of one HBM2 channel as the accelerator sees it: the table of parameters and the reference model.

sim/engine/hbm2.hpp is the same model in C++: equal requests give responses in equal cycles (docs/memory.md).
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import hashlib
import os
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from golden.host.cache import cache_folder

__all__ = [
    "HBM2",
    "Command",
    "HBM2Channel",
    "HBM2Timing",
    "NativeChannel",
    "build_library",
    "drive",
]

CACHE = cache_folder() / "hbm2"

_RAMULATOR = "Ramulator 2.1, python/ramulator/dram/hbm2.py, HBM2_2000Mbps"
_ORGANIZATION = "Ramulator 2.1, HBM2_2Gb: JESD235, 4 Gb a channel"
_JEDEC = "JESD235D table 68, through Ramulator 2.1"
_GEM5 = "gem5, src/mem/MemCtrl.py"
_OURS = "choice of this project"


def _parameter(value: int, meaning: str, source: str) -> Any:
    return dataclasses.field(default=value, metadata={"meaning": meaning, "source": source})


@dataclasses.dataclass(frozen=True, kw_only=True)
class HBM2Timing:
    """Parameters of a channel, in clock cycles of 1 ns if not said otherwise; the one table of them.

    The order of the fields is the order of ``Timing`` in sim/engine/hbm2.hpp. Meaning and source stand in the metadata.
    """

    pseudo_channels: int = _parameter(2, "pseudo channels of 64 bits", _ORGANIZATION)
    bank_groups: int = _parameter(4, "bank groups of a pseudo channel", _ORGANIZATION)
    banks: int = _parameter(4, "banks of a bank group", _ORGANIZATION)
    page_bytes: int = _parameter(1024, "bytes of an open row", _ORGANIZATION)
    burst_bytes: int = _parameter(32, "bytes of a burst: 64 bits, burst length 4", _ORGANIZATION)
    group_interleave: int = _parameter(1, "bursts of a bank group before the address goes to the next one", _OURS)
    tBL: int = _parameter(2, "data bus, a burst", _RAMULATOR)
    tCL: int = _parameter(14, "RD to first data", _RAMULATOR)
    tCWL: int = _parameter(5, "WR to first data", _RAMULATOR)
    tRCDRD: int = _parameter(14, "ACT to RD", _RAMULATOR)
    tRCDWR: int = _parameter(12, "ACT to WR", _RAMULATOR)
    tRP: int = _parameter(14, "PRE to ACT", _RAMULATOR)
    tRAS: int = _parameter(34, "ACT to PRE", _RAMULATOR)
    tRC: int = _parameter(48, "ACT to ACT of a bank", f"{_RAMULATOR}: tRAS + tRP")
    tRTP: int = _parameter(5, "RD to PRE", _RAMULATOR)
    tWR: int = _parameter(16, "end of written data to PRE", _RAMULATOR)
    tCCDS: int = _parameter(2, "RD to RD, WR to WR, other bank group", _RAMULATOR)
    tCCDL: int = _parameter(4, "RD to RD, WR to WR, same bank group", _RAMULATOR)
    tRRDS: int = _parameter(4, "ACT to ACT, other bank group", _RAMULATOR)
    tRRDL: int = _parameter(4, "ACT to ACT, same bank group", _RAMULATOR)
    tFAW: int = _parameter(15, "ACT to the fourth ACT after it", _RAMULATOR)
    tWTRS: int = _parameter(6, "end of written data to RD, other bank group", _RAMULATOR)
    tWTRL: int = _parameter(8, "end of written data to RD, same bank group", _RAMULATOR)
    tRTW: int = _parameter(15, "RD to WR", f"{_JEDEC}: notes on tRTW at 2 Gb/s")
    tRFC: int = _parameter(260, "REFab to ACT, 4 Gb a channel", _JEDEC)
    tREFI: int = _parameter(3900, "REFab to REFab", _JEDEC)
    act_cycles: int = _parameter(2, "row command bus, an ACT; it counts from its last cycle", _RAMULATOR)
    queue: int = _parameter(64, "requests taken and not yet answered", f"{_OURS}: the fetcher's words in flight")
    frontend: int = _parameter(10, "controller, request to first command", f"{_GEM5}: static_frontend_latency")
    backend: int = _parameter(10, "controller, end of data to response", f"{_GEM5}: static_backend_latency")
    refresh_stagger: int = _parameter(0, "refresh of a channel to that of the channel below", f"{_OURS}: all at once")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, least = getattr(self, field.name), int(field.name not in ("backend", "refresh_stagger"))
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 31:
                raise ValueError(f"{field.name} must be an integer of at least {least}, not {value!r}")
        total = self.pseudo_channels * self.pseudo_banks
        if total > 64:
            raise ValueError(f"banks must be at most 64 in a channel, not {total}")
        if self.page_bytes % (self.burst_bytes * self.group_interleave):
            raise ValueError(
                f"page_bytes must be a multiple of burst_bytes * group_interleave "
                f"({self.burst_bytes * self.group_interleave}), not {self.page_bytes!r}"
            )
        if self.tREFI <= self.tRFC:
            raise ValueError(f"tREFI must be above tRFC ({self.tRFC}), not {self.tREFI!r}")

    def values(self) -> np.ndarray:
        """All parameters in the order of the table, uint32."""
        return np.array(dataclasses.astuple(self), dtype="<u4")

    def check_word(self, width: int) -> None:
        """A word of ``width`` bits must be no more than a burst."""
        if width > 8 * self.burst_bytes:
            raise ValueError(f"channel_width must be at most {8 * self.burst_bytes} (a burst) for hbm2, not {width}")

    def first_refresh(self, channel: int) -> int:
        """Cycle in which the channel's first refresh is due, 1…tREFI."""
        return self.tREFI - channel * self.refresh_stagger % self.tREFI

    @property
    def pseudo_banks(self) -> int:
        """Banks of a pseudo channel."""
        return self.bank_groups * self.banks

    def place(self, burst: int) -> tuple[int, int]:
        """(bank, row) of a burst; banks are numbered by pseudo channel, bank group, bank."""
        rest, pseudo = divmod(burst, self.pseudo_channels)
        rest, group = divmod(rest // self.group_interleave, self.bank_groups)
        rest //= self.page_bytes // (self.burst_bytes * self.group_interleave)
        row, bank = divmod(rest, self.banks)
        return (pseudo * self.bank_groups + group) * self.banks + bank, row


HBM2 = HBM2Timing()
"""The default device and controller."""


# The model -----------------------------------------------------------------------------------------------------

ACT, PRE, RD, WR = range(4)
_NAMES = ("ACT", "PRE", "RD", "WR")
_NEVER = 1 << 62


class Command(NamedTuple):
    """A command as the channel gave it; ``cycle`` is that of its last cycle on the command bus."""

    cycle: int
    name: str
    """ACT, PRE, RD, WR; PREab and REFab: all banks of the pseudo channel"""
    bank: int
    """in the channel; the first one, if it is all"""
    row: int
    """-1: none"""


class _Burst:
    """Bytes on their way; ``done`` is the cycle of the first possible response."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = _NEVER


class _Waiting(NamedTuple):
    """A burst that has no RD or WR yet."""

    arrival: int
    """first cycle of a command"""
    bank: int
    row: int
    kind: int
    """RD or WR"""
    burst: _Burst


def _gaps(timing: HBM2Timing) -> dict[tuple[int, int], tuple[int, int, int]]:
    """Least gaps from a command to a later one: to any bank of the pseudo channel, to one of the group, to the same."""
    t = timing
    columns = (max(t.tCCDS, t.tBL), t.tCCDL, 0)
    written = t.tCWL + t.tBL
    return {
        (ACT, ACT): (t.tRRDS, t.tRRDL, t.tRC),
        (ACT, PRE): (0, 0, t.tRAS),
        (ACT, RD): (0, 0, t.tRCDRD),
        (ACT, WR): (0, 0, t.tRCDWR),
        (PRE, ACT): (0, 0, t.tRP),
        (RD, PRE): (0, 0, t.tRTP),
        (RD, RD): columns,
        (RD, WR): (t.tRTW, 0, 0),
        (WR, PRE): (0, 0, written + t.tWR),
        (WR, RD): (written + t.tWTRS, written + t.tWTRL, 0),
        (WR, WR): columns,
    }


def _rules(timing: HBM2Timing) -> list[list[list[tuple[int, int, int]]]]:
    """By command and bank: (later command, its bank, least gap)."""
    gaps = _gaps(timing)

    def of_bank(command: int, bank: int) -> list[tuple[int, int, int]]:
        first = bank // timing.pseudo_banks * timing.pseudo_banks
        rules = []
        for later in range(4):
            for other in range(first, first + timing.pseudo_banks):
                near = 1 + (other // timing.banks == bank // timing.banks) + (other == bank)
                gap = max(gaps.get((command, later), (0, 0, 0))[:near])
                rules += [(later, other, gap)] if gap else []
        return rules

    total = timing.pseudo_channels * timing.pseudo_banks
    return [[of_bank(command, bank) for bank in range(total)] for command in range(4)]


class HBM2Channel:
    """One HBM2 channel behind its controller; the rules stand in docs/memory.md.

    channel: its number, for the refresh. word_bytes: bytes of a word, at most a burst. log: list for the commands.
    A cycle is: :meth:`advance`; then takes_request, offers_response; then, at its end, request and response_taken.
    """

    def __init__(self, timing: HBM2Timing, channel: int, word_bytes: int, log: list[Command] | None = None):
        timing.check_word(8 * word_bytes)
        self.timing = timing
        self.word_bytes = word_bytes
        self.log = log
        total = timing.pseudo_channels * timing.pseudo_banks
        self._rules = _rules(timing)
        self._waiting: list[_Waiting] = []
        """oldest first"""
        self._open = [-1] * total
        """row by bank; -1: none"""
        self._ready = [[0] * total for _ in range(4)]
        """by command and bank: first cycle that the commands so far allow"""
        self._activations = [deque([-_NEVER] * 4, maxlen=4) for _ in range(timing.pseudo_channels)]
        self._refresh_due = [timing.first_refresh(channel)] * timing.pseudo_channels
        self._pending: deque[tuple[int, int, _Burst]] = deque()
        """(address, first possible response, burst), in order"""
        self._last: tuple[int, int] | None = None
        """burst number and kind of the last request"""
        self._burst = _Burst()
        self._row_free = 0
        self._wake = _NEVER
        """nothing happens before this cycle"""

    # The port

    def takes_request(self, cycle: int) -> bool:
        return len(self._pending) < self.timing.queue

    def offers_response(self, cycle: int) -> bool:
        if not self._pending:
            return False
        _, first, burst = self._pending[0]
        return first <= cycle and burst.done <= cycle

    def response_address(self) -> int:
        return self._pending[0][0]

    def response_taken(self) -> None:
        self._pending.popleft()

    def request(self, cycle: int, address: int, *, write: bool = False) -> None:
        timing = self.timing
        number, kind = address * self.word_bytes // timing.burst_bytes, WR if write else RD
        arrival = cycle + timing.frontend
        if (number, kind) != self._last:
            self._last, self._burst = (number, kind), _Burst()
            bank, row = timing.place(number)
            self._waiting.append(_Waiting(arrival, bank, row, kind, self._burst))
            self._wake_at(arrival)
        self._pending.append((address, arrival + timing.backend, self._burst))

    # Commands

    def advance(self, cycle: int) -> None:
        """Give the commands of this cycle: at most one column command and one row command."""
        if cycle < self._wake:
            return
        self._wake = _NEVER
        for pseudo, due in enumerate(self._refresh_due):
            if due <= cycle:
                self._refresh(pseudo, cycle)
        arrived = len(self._waiting)
        while arrived and self._waiting[arrived - 1].arrival > cycle:
            arrived -= 1
        if arrived < len(self._waiting):
            self._wake_at(self._waiting[arrived].arrival)
        arrived -= self._column_command(cycle, arrived)
        if cycle < self._row_free:
            self._wake_at(self._row_free)
        else:
            self._row_command(cycle, arrived)

    def _wake_at(self, cycle: int) -> None:
        self._wake = min(self._wake, cycle)

    def _give(self, command: int, cycle: int, bank: int, row: int) -> None:
        """Give a command whose last cycle on the bus is ``cycle``."""
        for later, other, gap in self._rules[command][bank]:
            if self._ready[later][other] < cycle + gap:
                self._ready[later][other] = cycle + gap
        self._note(cycle, _NAMES[command], bank, row)
        self._wake_at(cycle + 1)

    def _note(self, cycle: int, name: str, bank: int, row: int = -1) -> None:
        if self.log is not None:
            self.log.append(Command(cycle, name, bank, row))

    def _refresh(self, pseudo: int, cycle: int) -> None:
        """All refreshes that are due: nothing was given since, so that it does not matter when this is done."""
        timing, ready = self.timing, self._ready
        banks = slice(pseudo * timing.pseudo_banks, (pseudo + 1) * timing.pseudo_banks)
        while self._refresh_due[pseudo] <= cycle:
            start = self._refresh_due[pseudo]
            ends = [ready[PRE][bank] for bank in range(banks.start, banks.stop) if self._open[bank] >= 0]
            if ends:
                start = max(start, *ends)
                self._note(start, "PREab", banks.start)
                start += timing.tRP
            start = max(start, *ready[ACT][banks])
            self._note(start, "REFab", banks.start)
            self._open[banks] = [-1] * timing.pseudo_banks
            ready[ACT][banks] = [start + timing.tRFC] * timing.pseudo_banks
            self._refresh_due[pseudo] += timing.tREFI

    def _column_command(self, cycle: int, arrived: int) -> bool:
        """RD or WR of the oldest burst whose row is open and that may have it now."""
        timing = self.timing
        for place, (_, bank, row, kind, burst) in enumerate(self._waiting[:arrived]):
            if self._open[bank] != row:
                continue
            ready = self._ready[kind][bank]
            if ready <= cycle:
                del self._waiting[place]
                self._give(kind, cycle, bank, row)
                burst.done = cycle + (timing.tCL if kind == RD else timing.tCWL) + timing.tBL + timing.backend
                return True
            self._wake_at(ready)
        return False

    def _row_command(self, cycle: int, arrived: int) -> None:
        """ACT or PRE for the oldest burst that may have one now, each bank's oldest only; no PRE as long as a burst
        waits for the open row."""
        timing = self.timing
        bursts = self._waiting[:arrived]
        skipped = {bank for _, bank, row, _, _ in bursts if self._open[bank] == row}
        for _, bank, row, _, _ in bursts:
            if bank in skipped:
                continue
            skipped.add(bank)
            activations = self._activations[bank // timing.pseudo_banks]
            closed = self._open[bank] < 0
            ready = self._ready[ACT if closed else PRE][bank]
            if closed:
                ready = max(ready, activations[0] + timing.tFAW) - (timing.act_cycles - 1)
            if ready > cycle:
                self._wake_at(ready)
                continue
            self._row_free = cycle + (timing.act_cycles if closed else 1)
            if closed:
                activations.append(self._row_free - 1)
            self._give(ACT if closed else PRE, self._row_free - 1, bank, row if closed else self._open[bank])
            self._open[bank] = row if closed else -1
            return


def drive(
    channel: HBM2Channel | NativeChannel, addresses: Sequence[int], writes: Iterable[bool] = ()
) -> tuple[list[int], list[int]]:
    """Cycles in which the channel takes each request and gives each response, if nobody lets it wait.

    writes: by request; none: all are reads.
    """
    kinds = list(writes) or [False] * len(addresses)
    taken: list[int] = []
    given: list[int] = []
    cycle = 0
    while len(given) < len(addresses):
        channel.advance(cycle)
        takes = len(taken) < len(addresses) and channel.takes_request(cycle)
        if channel.offers_response(cycle):
            given.append(cycle)
            channel.response_taken()
        if takes:
            channel.request(cycle, addresses[len(taken)], write=kinds[len(taken)])
            taken.append(cycle)
        cycle += 1
    return taken, given


# The C++ model alone -------------------------------------------------------------------------------------------

_SOURCES = [Path(__file__).with_name(name) for name in ("hbm2.hpp", "hbm2.cpp")]
_U32, _U64 = ctypes.c_uint32, ctypes.c_uint64
_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "new": (ctypes.c_void_p, [ctypes.c_void_p, _U32, _U32, _U32]),
    "free": (None, [ctypes.c_void_p]),
    "advance": (None, [ctypes.c_void_p, _U64]),
    "takes_request": (ctypes.c_int, [ctypes.c_void_p, _U64]),
    "offers_response": (ctypes.c_int, [ctypes.c_void_p, _U64]),
    "response_address": (_U64, [ctypes.c_void_p]),
    "response_taken": (None, [ctypes.c_void_p]),
    "request": (None, [ctypes.c_void_p, _U64, _U64, ctypes.c_int]),
    "drive": (_U64, [ctypes.c_void_p, ctypes.c_void_p, _U64]),
}


def build_library(cache: Path = CACHE) -> Path:
    """Shared library of sim/engine/hbm2.cpp, compiled with g++ if it is not in the cache."""
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:20]
    final = cache / f"libhbm2-{digest}.so"
    if final.is_file():
        return final
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=cache) as work:
        made = Path(work) / final.name
        command = ["g++", "-O2", "-std=c++20", "-fPIC", "-shared", str(_SOURCES[1]), "-o", str(made)]
        process = subprocess.run(command, text=True, capture_output=True, check=False)
        if process.returncode:
            raise RuntimeError(f"g++ failed with exit status {process.returncode}:\n{process.stderr.strip()}")
        os.replace(made, final)
    return final


@functools.cache
def _library(path: Path) -> Any:
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(library, f"hbm2_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class NativeChannel:
    """:class:`HBM2Channel` as sim/engine/hbm2.hpp has it; ``library`` is from :func:`build_library`."""

    def __init__(self, timing: HBM2Timing, channel: int, word_bytes: int, library: Path):
        values = timing.values()
        self._library = _library(library)
        self._handle = self._library.hbm2_new(values.ctypes.data, len(values), channel, word_bytes)
        if not self._handle:
            raise ValueError(
                f"the table of sim/engine/hbm2.hpp does not have the {len(values)} parameters of HBM2Timing"
            )

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.hbm2_free(self._handle)

    def advance(self, cycle: int) -> None:
        self._library.hbm2_advance(self._handle, cycle)

    def takes_request(self, cycle: int) -> bool:
        return bool(self._library.hbm2_takes_request(self._handle, cycle))

    def offers_response(self, cycle: int) -> bool:
        return bool(self._library.hbm2_offers_response(self._handle, cycle))

    def response_address(self) -> int:
        return self._library.hbm2_response_address(self._handle)

    def response_taken(self) -> None:
        self._library.hbm2_response_taken(self._handle)

    def request(self, cycle: int, address: int, *, write: bool = False) -> None:
        self._library.hbm2_request(self._handle, cycle, address, write)

    def drive(self, addresses: np.ndarray) -> int:
        """Cycles until all words are read, if nobody lets the channel wait."""
        words = np.ascontiguousarray(addresses, dtype="<u4")
        return self._library.hbm2_drive(self._handle, words.ctypes.data, len(words))
