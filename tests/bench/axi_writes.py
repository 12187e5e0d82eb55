"""A memory on AXI4's write channels, for simulation, with the faults that a bus may have."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from typing import Any

from tests.bench.axi_reads import setter

__all__ = ["ORDERS", "WRITE_FAULTS", "WriteMemory"]

ORDERS = ("any", "request first", "data first")
"""What a memory waits for: nothing; WREADY for the request; AWREADY for the last word of it."""
WRITE_FAULTS = ("slverr", "decerr", "surplus", "silent")
"""The response of a burst: an error; two of them; none, and then none more ever."""


class WriteMemory:
    """Takes the bursts of a manager. latency: cycles from the last word to the response, at the least. stall: chance
    that a request, word or response waits, in a cycle. order: one of :data:`ORDERS`. faults: number of a burst -> one
    of :data:`WRITE_FAULTS`.

    Members
    -------
    bytes : byte address -> byte, of those written
    answered : byte addresses whose burst has had its response taken
    blocked : no request or word is taken
    """

    def __init__(
        self,
        bus: Any,
        *,
        data_width: int,
        latency: int = 1,
        stall: float = 0.0,
        order: str = "any",
        faults: Mapping[int, str] | None = None,
        seed: int = 0,
    ):
        self.bus, self.size, self.latency, self.stall, self.order = bus, data_width // 8, latency, stall, order
        self.faults, self.rng = dict(faults or {}), random.Random(f"{seed} writes")
        self.bytes: dict[int, int] = {}
        self.answered: set[int] = set()
        self.blocked = self.silent = False
        self._requests: deque[tuple[int, int]] = deque()  # address, beats
        self._bursts: deque[list[tuple[int, int]]] = deque()  # data and strobes, up to WLAST
        self._open: list[tuple[int, int]] = []
        self._responses: deque[tuple[int, int, list[int]]] = deque()  # cycle, BRESP, byte addresses
        self._number = self._requested = self._ended = self.cycle = 0

    def _willing(self) -> bool:
        return not self.blocked and (not self.stall or self.rng.random() >= self.stall)

    def _finish(self) -> None:
        """Bursts whose request and words are there."""
        while self._requests and self._bursts:
            (address, beats), words = self._requests.popleft(), self._bursts.popleft()
            assert len(words) == beats, "the monitor has missed this"
            written = []
            for index, (data, strobes) in enumerate(words):
                for byte in range(self.size):
                    if strobes >> byte & 1:
                        place = address + index * self.size + byte
                        self.bytes[place] = data >> 8 * byte & 0xFF
                        written.append(place)
            fault = self.faults.get(self._number)
            self._number += 1
            self.silent = self.silent or fault == "silent"
            if not self.silent:
                resp = {"slverr": 2, "decerr": 3}.get(str(fault), 0)
                due = self.cycle + self.latency - 1
                self._responses += [(due, resp, written)] * (1 + (fault == "surplus"))

    async def serve(self, ctx: Any) -> None:
        """A background process."""
        bus, giving, put = self.bus, False, setter(ctx)
        edge = ctx.tick().sample(
            bus.awvalid, bus.awready, bus.awaddr, bus.awlen, bus.wvalid, bus.wready, bus.wlast, bus.wdata, bus.wstrb
        )
        while True:
            data_first, request_first = self.order == "data first", self.order == "request first"
            put(bus.awready, self._willing() and (not data_first or self._ended > self._requested))
            put(bus.wready, self._willing() and (not request_first or self._requested > self._ended))
            due = bool(self._responses) and self._responses[0][0] <= self.cycle
            giving = giving or (due and self._willing())
            put(bus.bvalid, giving)
            put(bus.bresp, self._responses[0][1] if giving else 0)
            _, _, asks, takes, address, beats, valid, ready, last, data, strobes = await edge
            self.cycle += 1
            if giving:
                self.answered.update(self._responses.popleft()[2])
                giving = False
            if asks and takes:
                self._requests.append((address, beats + 1))
                self._requested += 1
            if valid and ready:
                self._open.append((data, strobes))
                if last:
                    self._bursts.append(self._open)
                    self._open, self._ended = [], self._ended + 1
            self._finish()
