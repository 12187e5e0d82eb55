"""The windows of the queue whose commands are at work."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.command.command_check import window
from hdl.result.written_word import ADDRESS_WIDTH
from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count

__all__ = ["QueueWindows", "queue_window", "word_window"]


def queue_window() -> data.StructLayout:
    """What the host sets of a queue; constant while it is enabled."""
    return data.StructLayout({"enable": 1, "readable": window(), "writable": window()})


def word_window(config: Config) -> data.StructLayout:
    """Words of a channel that may be read, from ``base`` up to, but not with, ``limit``."""
    return data.StructLayout({"base": config.address_width, "limit": config.address_width + 1})


class QueueWindows(wiring.Component):
    """One queue's windows at a time, for the channels and for all of them together.

    The queue changes when the next command is another's and none is at work. The words of a channel are those of the
    bytes of the window after the channel's first address. Latency: 1 cycle a channel, and 3.

    Members
    -------
    wanted : In(n)                queue of the next command
    working : In(1)               a command is at work
    ready : Out(1)                the windows are those of ``wanted``
    current : Out(n)              queue whose windows they are
    queue : In(queue_window).array(queues)
    base : In(64).array(channels)       byte address of word 0 of each channel
    channel : Out(word_window).array(channels)
    all : Out(word_window)        words that may be read in every channel
    writable : Out(window)
    """

    def __init__(self, config: Config, *, queues: int):
        self.config, self.queues = config, queues
        super().__init__(
            {
                "wanted": In(bits_for_count(queues - 1)),
                "working": In(1),
                "ready": Out(1),
                "current": Out(bits_for_count(queues - 1)),
                "queue": In(queue_window()).array(queues),
                "base": In(ADDRESS_WIDTH).array(config.num_channels),
                "channel": Out(word_window(config)).array(config.num_channels),
                "all": Out(word_window(config)),
                "writable": Out(window()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        queue, valid = self.current, Signal()
        mine = Array(self.queue)[queue]
        channel, first = Signal(range(self.config.num_channels)), Signal()
        m.d.comb += self.ready.eq(valid & (queue == self.wanted))
        with m.FSM(name="windows"):
            with m.State("HOLD"):
                with m.If(~self.ready & ~self.working):
                    m.d.sync += [queue.eq(self.wanted), valid.eq(0), channel.eq(0)]
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.sync += [self.writable.eq(mine.writable), first.eq(1)]
                m.next = "CHANNELS"
            with m.State("CHANNELS"):
                self._set(m, mine, channel, first)
                with m.If(channel == self.config.num_channels - 1):
                    m.d.sync += valid.eq(1)
                    m.next = "HOLD"
        with m.If(~mine.enable):
            m.d.sync += valid.eq(0)
        return m

    def _set(self, m, mine, channel, first):
        """The window of a channel, and what it leaves of that of all."""
        config, base = self.config, Array(self.base)[channel]
        low = (config.channel_width // 8).bit_length() - 1
        most = 1 << config.address_width

        def words(address):
            """Words before an address, as far as the channel has any."""
            over = Signal(ADDRESS_WIDTH + 1)
            m.d.comb += over.eq(address - base)
            beyond = over[low:ADDRESS_WIDTH] > most
            return Mux(over[-1], 0, Mux(beyond, most, over[low : low + config.address_width + 1]))

        begin, end = Signal(config.address_width + 1), Signal(config.address_width + 1)
        m.d.comb += [begin.eq(words(mine.readable.base)), end.eq(words(mine.readable.limit))]
        # A window that begins after the last word is empty: base is cut to 0, and so is its limit.
        empty = begin[-1] | (end <= begin)
        start, stop = Mux(empty, 0, begin), Mux(empty, 0, end)
        for index, window_ in enumerate(self.channel):
            with m.If(channel == index):
                m.d.sync += [window_.base.eq(start), window_.limit.eq(stop)]
        m.d.sync += [first.eq(0), channel.eq(channel + 1)]
        with m.If(first | (start > self.all.base)):
            m.d.sync += self.all.base.eq(start)
        with m.If(first | (stop < self.all.limit)):
            m.d.sync += self.all.limit.eq(stop)
