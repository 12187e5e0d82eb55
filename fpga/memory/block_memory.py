"""Memory in block RAM, for the core and the host."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from fpga.memory.read_queue import ReadQueue
from fpga.spec.layouts import HostMemory, host_access
from fpga.spec.settings import SystemSettings
from hdl.control.counters import COUNTER_WIDTH
from hdl.spec.payloads import MemoryPort

__all__ = ["BlockMemory"]


class BlockMemory(wiring.Component):
    """``memory_words`` words of each channel; all zero at power-on.

    One word a cycle and channel for the core, in order, LATENCY cycles after its request. An access of the host takes
    one cycle of its channel; it goes before the core's requests, but the next one is taken only when it is done, so
    that the core loses at most every second cycle. Addresses beyond the memory wrap.

    Members
    -------
    core : In(MemoryPort).array(num_channels)
    host : In(HostMemory)
    idle : Out(1)                                  no request of the core is in flight
    clear : In(1)                                  set words_read to 0
    words_read : Out(ArrayLayout(48, num_channels))   words that the core took since ``clear``
    """

    LATENCY = 5
    """Cycles from a request to its response: address, memory, output register and 2 of the queue."""

    def __init__(self, settings: SystemSettings):
        self.settings = settings
        config = settings.core
        super().__init__(
            {
                "core": In(MemoryPort(config)).array(config.num_channels),
                "host": In(HostMemory(config)),
                "idle": Out(1),
                "clear": In(1),
                "words_read": Out(data.ArrayLayout(COUNTER_WIDTH, config.num_channels)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.settings.core
        waiting, busy = Signal(), Signal()
        access = Signal(host_access(config), reset_less=True)
        m.d.comb += self.host.request.ready.eq(~busy)
        with m.If(self.host.request.valid & ~busy):
            m.d.sync += [waiting.eq(1), busy.eq(1), access.eq(self.host.request.payload)]
        with m.Elif(waiting):
            m.d.sync += [waiting.eq(0), busy.eq(~access.write)]
        channels = []
        for number, port in enumerate(self.core):
            m.submodules[f"channel_{number}"] = channel = _Channel(self.settings)
            channels.append(channel)
            here = access.channel[: (config.num_channels - 1).bit_length()] == number
            connect(m, flipped(port), channel.core)
            m.d.comb += [
                channel.host_valid.eq(waiting & here),
                channel.access.eq(access),
                channel.clear.eq(self.clear),
                self.words_read[number].eq(channel.count),
            ]
        m.d.comb += self.idle.eq(Cat(channel.idle for channel in channels).all())
        self._answer(m, channels, busy)
        return m

    def _answer(self, m, channels, busy):
        """The host's word, of whichever channel; only one is asked for at a time."""
        response = self.host.response
        payload = Signal(len(response.payload), reset_less=True)
        taken = Signal()  # the host took the word in the cycle before
        m.d.comb += response.payload.eq(payload)
        m.d.sync += taken.eq(response.valid & response.ready)
        for channel in channels:
            with m.If(channel.host_word):
                m.d.sync += [payload.eq(channel.word), response.valid.eq(1)]
        with m.If(response.valid & response.ready):
            m.d.sync += response.valid.eq(0)
        with m.If(taken):
            m.d.sync += busy.eq(0)


class _Channel(wiring.Component):
    """One channel: three registers from a request to the word (address, memory, output), then the core's queue."""

    DEPTH = 16
    """Words in flight; the pipeline and the queue need no more than 8, and LUT RAM has 16 places anyway."""

    def __init__(self, settings: SystemSettings):
        self.words = settings.memory_words
        config = settings.core
        super().__init__(
            {
                "core": In(MemoryPort(config)),
                "host_valid": In(1),
                "access": In(host_access(config)),
                "host_word": Out(1),
                "word": Out(config.channel_width),
                "idle": Out(1),
                "clear": In(1),
                "count": Out(COUNTER_WIDTH),
            }
        )

    def elaborate(self, platform):
        m = Module()
        request = self.core.request
        m.submodules.queue = queue = ReadQueue(len(self.word), depth=self.DEPTH)
        m.submodules.memory = memory = Memory(shape=len(self.word), depth=self.words, init=[])
        write, read = memory.write_port(), memory.read_port()
        taken, host_read = Signal(), Signal()
        core_steps, host_steps = Signal(3), Signal(3)
        address, word = Signal(len(read.addr), reset_less=True), Signal(len(self.word), reset_less=True)
        m.d.comb += [
            request.ready.eq(queue.room & ~self.host_valid),
            taken.eq(request.valid & request.ready),
            host_read.eq(self.host_valid & ~self.access.write),
            write.addr.eq(self.access.address),
            write.data.eq(self.access.data),
            write.en.eq(self.host_valid & self.access.write),
            read.addr.eq(address),
            self.word.eq(word),
            self.host_word.eq(host_steps[-1]),
            queue.word.eq(word),
            queue.word_valid.eq(core_steps[-1]),
            queue.requested.eq(taken),
            queue.clear.eq(self.clear),
            self.idle.eq(queue.idle),
            self.count.eq(queue.count),
        ]
        m.d.sync += [
            address.eq(Mux(self.host_valid, self.access.address, request.payload)),
            word.eq(read.data),
            core_steps.eq(Cat(taken, core_steps)),
            host_steps.eq(Cat(host_read, host_steps)),
        ]
        connect(m, queue.o, flipped(self.core.response))
        return m
