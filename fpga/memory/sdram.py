"""Memory in an SDRAM, for the core and the host."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from fpga.memory.read_queue import ReadQueue
from fpga.memory.sdram_controller import SdramController
from fpga.spec.layouts import HostMemory, host_access
from fpga.spec.sdram_pins import BANK_BITS, ROW_BITS, SdramPins, capacity
from fpga.spec.sdram_timing import SdramTiming
from fpga.spec.settings import SystemSettings
from hdl.control.counters import COUNTER_WIDTH
from hdl.spec.payloads import MemoryPort

__all__ = ["SdramMemory"]


class SdramMemory(wiring.Component):
    """``memory_words`` words of the one channel in an SDRAM; what they hold at power-on is unknown.

    Accesses are served in the order in which they are taken. One of the host goes before the core's, but the next one
    is taken only when it is done. Addresses beyond the memory wrap. Requests wait until the chip is ready (200 us).

    Members
    -------
    core : In(MemoryPort).array(1)
    host : In(HostMemory)
    idle : Out(1)                         no request of the core is in flight
    clear : In(1)                         set words_read to 0
    words_read : Out(ArrayLayout(48, 1))  words that the core took since ``clear``
    pins : Out(SdramPins)
    """

    DEPTH = 8
    """Words in flight: at most 4 bursts of 8 between request and queue, then the queue's own way."""

    def __init__(self, settings: SystemSettings, *, timing: SdramTiming | None = None):
        config = settings.core
        self.settings = settings
        if config.num_channels != 1:
            raise ValueError(f"num_channels must be 1 for the SDRAM, not {config.num_channels!r}")
        self.controller = SdramController(
            config.channel_width, timing=timing or SdramTiming(), clock_hz=settings.clock_hz
        )
        if settings.memory_words > capacity(config.channel_width):
            raise ValueError(
                f"memory_words must be at most {capacity(config.channel_width)} for the SDRAM, "
                f"not {settings.memory_words!r}"
            )
        super().__init__(
            {
                "core": In(MemoryPort(config)).array(1),
                "host": In(HostMemory(config)),
                "idle": Out(1),
                "clear": In(1),
                "words_read": Out(data.ArrayLayout(COUNTER_WIDTH, 1)),
                "pins": Out(SdramPins()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = controller = self.controller
        m.submodules.queue = queue = ReadQueue(self.settings.core.channel_width, depth=self.DEPTH)
        connect(m, controller.pins, flipped(self.pins))
        connect(m, queue.o, flipped(self.core[0].response))
        waiting, access = self._host(m, controller)
        request, word = self.core[0].request, Signal(range(self.settings.memory_words))
        column = len(controller.request.payload.column)
        m.d.comb += [
            request.ready.eq(controller.request.ready & queue.room & ~waiting),
            word.eq(Mux(waiting, access.address, request.payload)),
            controller.request.valid.eq(waiting | (request.valid & queue.room)),
            controller.request.payload.column.eq(word[:column]),
            controller.request.payload.bank.eq(word[column : column + BANK_BITS]),
            controller.request.payload.row.eq(word[column + BANK_BITS : column + BANK_BITS + ROW_BITS]),
            controller.request.payload.write.eq(waiting & access.write),
            controller.request.payload.host.eq(waiting),
            controller.data.eq(access.data),
            queue.requested.eq(request.valid & request.ready),
            queue.word_valid.eq(controller.core_word),
            queue.word.eq(controller.word),
            queue.clear.eq(self.clear),
            self.idle.eq(queue.idle),
            self.words_read[0].eq(queue.count),
        ]
        return m

    def _host(self, m, controller):
        """One access at a time: it waits for its turn, then for the chip, a read then for the host."""
        request, response = self.host.request, self.host.response
        waiting, busy = Signal(), Signal()
        taken = Signal()  # the host took the word in the cycle before
        access = Signal(host_access(self.settings.core), reset_less=True)
        word = Signal(len(response.payload), reset_less=True)
        m.d.comb += [request.ready.eq(~busy), response.payload.eq(word)]
        with m.If(request.valid & ~busy):
            m.d.sync += [waiting.eq(1), busy.eq(1), access.eq(request.payload)]
        with m.If(waiting & controller.request.ready):
            m.d.sync += waiting.eq(0)
        with m.If(controller.written):
            m.d.sync += busy.eq(0)
        with m.If(controller.host_word):
            m.d.sync += [word.eq(controller.word), response.valid.eq(1)]
        m.d.sync += taken.eq(response.valid & response.ready)
        with m.If(response.valid & response.ready):
            m.d.sync += response.valid.eq(0)
        with m.If(taken):
            m.d.sync += busy.eq(0)
        return waiting, access
