"""Timing of one HBM2 channel as the accelerator sees it: the reference model.

sim/engine/hbm2.hpp is the same model in C++: equal requests give responses in equal cycles (docs/memory.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sim.engine.hbm2_native import NativeChannel
from sim.engine.hbm2_timing import HBM2Timing

__all__ = ["Command", "HBM2Channel", "drive"]

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
    """One HBM2 channel with its controller; the rules stand in docs/memory.md.

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
