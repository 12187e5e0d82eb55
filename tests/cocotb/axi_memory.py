"""A memory on the AXI4 ports: cocotbext-axi's subordinates, with faults of the bus, and windows that are watched."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from cocotb.triggers import ClockCycles, Event
from cocotbext.axi import AxiReadBus, AxiResp, AxiSlaveRead, AxiSlaveWrite, AxiWriteBus

from sim.transport.host_memory import HostMemory

__all__ = ["READ_FAULTS", "WRITE_FAULTS", "FaultyReads", "FaultyWrites"]

READ_FAULTS = ("slverr", "decerr", "early", "late", "missing", "surplus", "silent", "deaf")
"""A beat with an error; RLAST a beat early, and no more of the burst; one beat more, RLAST with it; no RLAST; one beat
more after RLAST; no beats until :meth:`_Faulty.release`; no request taken until then."""
WRITE_FAULTS = ("slverr", "decerr", "surplus", "silent", "deaf")
"""Of the response of a burst: an error; two responses; none until :meth:`_Faulty.release`; no request and no word taken
until then."""


class _Faulty:
    """What both directions have: a fault that waits for a burst, pauses, and the windows.

    allowed: whether a burst may be (first byte, byte after its last). Faults, latency and stall may be changed at any
    time.

    Members
    -------
    stall : chance that a channel pauses, in a cycle; lag : most cycles of waiting before an answer
    armed : name of the fault that waits; after : bursts before it; fired : that which has been
    outside : bursts that were not allowed; bursts : of them all, the number
    """

    def __init__(self, clock: Any, memory: HostMemory, allowed: Callable[[int, int], bool], seed: str):
        self.tick, self.memory, self.allowed, self.rng = clock, memory, allowed, random.Random(seed)
        self.stall, self.lag = 0.0, 0
        self.outside: list[tuple[int, int]] = []
        self.bursts = 0
        self.opened, self.deaf = Event(), False
        self.opened.set()
        self.forget()

    def forget(self) -> None:
        """No fault waits, or has been."""
        self.armed = self.fired = ""
        self.after = 0

    def arm(self, fault: str, after: int) -> None:
        self.armed, self.fired, self.after = fault, "", after

    def release(self) -> None:
        """The bus gives and takes again."""
        self.deaf = False
        self.opened.set()

    def fire(self) -> str:
        """The fault of the next burst, if it is its turn."""
        if not self.armed or self.after > 0:
            self.after -= 1
            return ""
        self.fired, self.armed = self.armed, ""
        return self.fired

    def pauses(self, *, requests: bool = False):
        """Of a channel."""
        while True:
            yield (requests and self.deaf) or self.rng.random() < self.stall

    def look(self, address: int, end: int) -> None:
        self.bursts += 1
        if not self.allowed(address, end):
            self.outside.append((address, end))
        if self.armed == "deaf":
            self.deaf = bool(self.fire())

    async def wait(self) -> None:
        """Before an answer."""
        if self.lag:
            await ClockCycles(self.tick, self.rng.randint(1, self.lag))


class FaultyReads(_Faulty):
    """Answers of the memory to the reads of a port."""

    def __init__(
        self,
        bus: AxiReadBus,
        clock: Any,
        reset: Any,
        memory: HostMemory,
        allowed: Callable[[int, int], bool],
        seed: str,
    ):
        super().__init__(clock, memory, allowed, seed)
        self.slave = slave = AxiSlaveRead(bus, clock, reset, target=self, reset_active_level=False)
        self._give, slave.r_channel.send = slave.r_channel.send, self._beat  # every beat goes through here
        self._take, slave.ar_channel.recv = slave.ar_channel.recv, self._request
        slave.ar_channel.set_pause_generator(self.pauses(requests=True))
        slave.r_channel.set_pause_generator(self.pauses())
        self._fault, self._place = "", 0

    async def read(self, address: int, length: int) -> bytes:
        return self.memory.read(address, length).tobytes()

    async def _request(self):
        request = await self._take()
        first, beats = int(request.araddr), int(request.arlen) + 1
        self.look(first, first + (beats << int(request.arsize)))
        self._fault = ""
        if self.armed != "deaf" and (self.armed != "early" or beats > 1):
            self._fault = self.fire()
        self._number, self._place = 0, self.rng.randrange(max(1, beats - (self._fault == "early")))
        if self._fault == "silent":
            self.opened.clear()
        await self.wait()
        return request

    async def _beat(self, beat: Any) -> None:
        """Give a beat, as the burst's fault has it."""
        fault, here, last = self._fault, self._number == self._place, bool(beat.rlast)
        past = self._number > self._place
        self._number += 1
        await self.opened.wait()
        if fault in ("slverr", "decerr") and here:
            beat.rresp, beat.rdata = AxiResp.SLVERR if fault == "slverr" else AxiResp.DECERR, 0xBAD
        if fault == "early" and past:
            return
        if fault == "early" and here:
            beat.rlast = 1
        if fault in ("late", "missing"):
            beat.rlast = 0
        await self._give(beat)
        if last and fault in ("late", "surplus"):
            more = self.slave.r_channel._transaction_obj()
            more.rid, more.rdata, more.rresp, more.rlast = beat.rid, 0xBAD, AxiResp.OKAY, 1
            await self._give(more)


class FaultyWrites(_Faulty):
    """The memory takes the writes of a port."""

    def __init__(
        self,
        bus: AxiWriteBus,
        clock: Any,
        reset: Any,
        memory: HostMemory,
        allowed: Callable[[int, int], bool],
        seed: str,
    ):
        super().__init__(clock, memory, allowed, seed)
        self.slave = slave = AxiSlaveWrite(bus, clock, reset, target=self, reset_active_level=False)
        self._give, slave.b_channel.send = slave.b_channel.send, self._respond
        self._take, slave.aw_channel.recv = slave.aw_channel.recv, self._request
        for channel in (slave.aw_channel, slave.w_channel):
            channel.set_pause_generator(self.pauses(requests=True))
        slave.b_channel.set_pause_generator(self.pauses())

    async def write(self, address: int, data: bytes) -> None:
        self.memory.write(address, bytes(data))

    async def _request(self):
        request = await self._take()
        first = int(request.awaddr)
        self.look(first, first + (int(request.awlen) + 1 << int(request.awsize)))
        return request

    async def _respond(self, response: Any) -> None:
        fault = self.fire() if self.armed != "deaf" else ""
        await self.wait()
        if fault == "silent":
            self.opened.clear()
        await self.opened.wait()
        if fault in ("slverr", "decerr"):
            response.bresp = AxiResp.SLVERR if fault == "slverr" else AxiResp.DECERR
        await self._give(response)
        if fault == "surplus":
            more = self.slave.b_channel._transaction_obj()
            more.bid, more.bresp = response.bid, response.bresp
            await self._give(more)
