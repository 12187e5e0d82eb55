"""A whole board behind its pins: serial link, core and memory."""

from __future__ import annotations

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from fpga.link.link import Link
from fpga.memory.block_memory import BlockMemory
from fpga.memory.sdram import SdramMemory
from fpga.spec.protocol import HOST_STREAM, RESULT_STREAM
from fpga.spec.settings import SystemSettings
from hdl.spatten import SpAtten
from hdl.stream.stream_queue import StreamQueue

__all__ = ["System"]


class System(wiring.Component):
    """Link, core and memory of a design, in one clock domain; see docs/fpga.md.

    The link's RESET holds the core in reset; meanwhile the core asks nothing of the memory, and the words that it asked
    for before are dropped. Core, and link with memory, have a flip-flop each for their reset, which is all that resets
    them where the clock domain has no reset of its own: the way of a reset is the longest on the chip.

    Members
    -------
    reset : In(1)          hold all in reset
    rx : In(1), init=1     serial line from the host
    tx : Out(1), init=1    serial line to it
    idle : Out(1)          nothing to do
    busy : Out(1)          a job is in flight, or a command is executed
    error : Out(1)         a frame was damaged, or a command or job refused, since the last RESET
    sdram : Out(SdramPins) with the memory "sdram" only
    """

    def __init__(self, settings: SystemSettings):
        self.settings = settings
        self._memory = (SdramMemory if settings.memory == "sdram" else BlockMemory)(settings)
        members = {
            "reset": In(1),
            "rx": In(1, init=1),
            "tx": Out(1, init=1),
            "idle": Out(1),
            "busy": Out(1),
            "error": Out(1),
        }
        if settings.memory == "sdram":
            members["sdram"] = self._memory.signature.members["pins"]
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        reset = Signal(init=1)
        self._link = link = Link(self.settings)
        m.submodules.link = ResetInserter(reset)(link)
        m.submodules.memory = ResetInserter(reset)(self._memory)
        self._core_reset = core_reset = Signal(init=1)
        self._core = core = SpAtten(self.settings.core)
        m.submodules.core = ResetInserter(core_reset)(core)
        m.d.sync += [reset.eq(self.reset), core_reset.eq(self.reset | link.core_reset)]
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            core.window_base.eq(self.settings.window_base),
            core.window_limit.eq(self.settings.window_limit),
        ]
        m.d.sync += [self.busy.eq(link.busy), self.idle.eq(~link.busy), self.error.eq(link.error)]
        self._connect_streams(m)
        self._connect_memory(m)
        return m

    def _connect_streams(self, m):
        link, core = self._link, self._core
        for name in HOST_STREAM:
            connect(m, getattr(link, name), getattr(core, name))
        for name in RESULT_STREAM:
            connect(m, getattr(core, name), getattr(link, name))
        m.d.comb += [link.counters.eq(core.counters), core.counters_clear.eq(link.counters_clear)]

    def _connect_memory(self, m):
        link, core, memory = self._link, self._core, self._memory
        connect(m, link.memory, memory.host)
        m.d.comb += [
            link.memory_idle.eq(memory.idle),
            link.words_read.eq(memory.words_read),
            memory.clear.eq(link.counters_clear | self._core_reset),
        ]
        for number, (asks, serves) in enumerate(zip(core.memory, memory.core, strict=True)):
            # Core and memory lie far apart.
            requests = StreamQueue(asks.request.payload.shape(), depth=3)
            m.submodules[f"requests_{number}"] = ResetInserter(self._core_reset)(requests)
            connect(m, asks.request, requests.i)
            m.d.comb += [
                serves.request.valid.eq(requests.o.valid & ~self._core_reset),
                serves.request.payload.eq(requests.o.payload),
                requests.o.ready.eq(serves.request.ready),
                asks.response.valid.eq(serves.response.valid),
                asks.response.payload.eq(serves.response.payload),
                serves.response.ready.eq(asks.response.ready | self._core_reset),
            ]
        if self.settings.memory == "sdram":
            connect(m, memory.pins, flipped(self.sdram))
