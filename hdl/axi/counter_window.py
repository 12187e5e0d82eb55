"""The counters in a memory that software reads: they are copied there one after another."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.axi.register_layouts import any_of
from hdl.control.counters import COUNTER_WIDTH, counters_layout
from hdl.spec.config import Config
from hdl.spec.register_map import CORE_COUNTERS, DATA_WIDTH

__all__ = ["ChannelCounters", "CounterWindow", "channel_counters"]


def channel_counters(config: Config) -> data.ArrayLayout:
    """What a memory channel has given."""
    return data.ArrayLayout(
        data.StructLayout(
            {
                "words": COUNTER_WIDTH,
                "surplus": COUNTER_WIDTH,  # beats that nothing had asked for, or that came too late
            }
        ),
        config.num_channels,
    )


class ChannelCounters(wiring.Component):
    """Counts of each channel, modulo 2^48; ``clear`` sets all to 0, with the events of its cycle. Latency 1.

    Members
    -------
    words : In(num_channels)      a bit for each channel: it gives a word
    surplus : In(num_channels)    a bit for each channel: a beat is dropped
    clear : In(1)
    values : Out(channel_counters(config))
    """

    def __init__(self, config: Config):
        super().__init__(
            {
                "words": In(config.num_channels),
                "surplus": In(config.num_channels),
                "clear": In(1),
                "values": Out(channel_counters(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        for value, words, surplus in zip(self.values, self.words, self.surplus, strict=True):
            m.d.sync += [value.words.eq(value.words + words), value.surplus.eq(value.surplus + surplus)]
        with m.If(self.clear):
            m.d.sync += Value.cast(self.values).eq(0)
        return m


class CounterWindow(wiring.Component):
    """Copies all counters when asked, and gives what was copied word by word.

    A copy takes :attr:`CYCLES` for each counter, one after another; a ``take`` in the meantime does nothing. Counter i
    of the core is at the words 2·i (low) and 2·i + 1; those of channel n follow at the counters ``CORE_COUNTERS +
    2·n`` (words) and one more (surplus). Places without a counter are 0.

    Members
    -------
    core : In(counters_layout(config))
    channels : In(channel_counters(config))
    take : In(1)
    busy : Out(1)     from the cycle after ``take``
    done : Out(1)     for the last cycle of ``busy``
    word : In(n)      what to read
    data : Out(32)    it, in the next cycle
    """

    CYCLES = 3

    def __init__(self, config: Config):
        self.words = 2 * (CORE_COUNTERS + 2 * config.num_channels)
        super().__init__(
            {
                "core": In(counters_layout(config)),
                "channels": In(channel_counters(config)),
                "take": In(1),
                "busy": Out(1),
                "done": Out(1),
                "word": In((self.words - 1).bit_length()),
                "data": Out(DATA_WIDTH),
            }
        )

    def elaborate(self, platform):
        m = Module()
        core = [self.core[name] for name in self.core.shape().members]
        channels = [counter for channel in self.channels for counter in (channel.words, channel.surplus)]
        m.submodules.memory = memory = Memory(shape=DATA_WIDTH, depth=self.words, init=[])
        read, write = memory.read_port(), memory.write_port()
        m.d.comb += [read.addr.eq(self.word), self.data.eq(read.data)]

        turn = Signal(len(core) + len(channels), init=1)  # one-hot: much less logic than a number
        place = Signal(range(self.words // 2))
        held = Signal(COUNTER_WIDTH, reset_less=True)
        high = Signal()
        m.d.comb += [
            write.addr.eq(Cat(high, place)),
            write.data.eq(Mux(high, held[DATA_WIDTH:], held[:DATA_WIDTH])),
            self.done.eq(high & turn[-1]),
        ]
        with m.FSM() as fsm:
            with m.State("IDLE"), m.If(self.take):
                m.next = "HOLD"
            with m.State("HOLD"):
                m.d.sync += held.eq(
                    any_of([Mux(now, value, 0) for now, value in zip(turn, core + channels, strict=True)])
                )
                m.next = "LOW"
            with m.State("LOW"):
                m.d.comb += write.en.eq(1)
                m.next = "HIGH"
            with m.State("HIGH"):
                m.d.comb += [write.en.eq(1), high.eq(1)]
                m.d.sync += [turn.eq(turn.rotate_left(1)), place.eq(place + 1)]
                with m.If(turn[len(core) - 1]):
                    m.d.sync += place.eq(CORE_COUNTERS)
                with m.If(turn[-1]):
                    m.d.sync += place.eq(0)
                m.next = "HOLD"
                with m.If(turn[-1]):
                    m.next = "IDLE"
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
        return m
