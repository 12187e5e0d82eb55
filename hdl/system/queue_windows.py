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
    bytes of the window after the channel's first address. Latency: 4 cycles a channel, and 2, from when it is
    enabled on 5 more: what was found before is not that of its windows.

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
    readable, writable : Out(window)
    """

    def __init__(self, config: Config, *, queues: int = 2):
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
                **dict.fromkeys(("readable", "writable"), Out(window())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        queue, valid = self.current, Signal()
        steady = Signal()  # the queue has been enabled, and so its windows constant, since the first channel
        mine = Array(self.queue)[queue]
        channel, first, start = Signal(range(self.config.num_channels)), Signal(), Signal()
        m.d.comb += self.ready.eq(valid & (queue == self.wanted))
        with m.FSM(name="windows"):
            with m.State("HOLD"):
                m.d.comb += start.eq(~self.ready & ~self.working)
                with m.If(start):
                    m.d.sync += [queue.eq(self.wanted), valid.eq(0), channel.eq(0), first.eq(1), steady.eq(1)]
                    m.next = "CHOOSE"
            self._channel_states(m, mine, channel, first, steady)
            with m.State("NEXT"):
                m.d.sync += [first.eq(0), channel.eq(channel + 1)]
                m.next = "CHOOSE"
                with m.If(channel == self.config.num_channels - 1):
                    m.d.sync += valid.eq(steady)
                    m.next = "HOLD"
        with m.If(~mine.enable):
            m.d.sync += valid.eq(0)
        with m.If(~mine.enable & ~start):
            m.d.sync += steady.eq(0)
        return m

    def _channel_states(self, m, mine, channel, first, steady):
        """The window of a channel, and what it leaves of that of all: base, distances, words, comparisons."""
        config, base = self.config, Signal(ADDRESS_WIDTH, reset_less=True)
        readable = self.readable
        low = (config.channel_width // 8).bit_length() - 1
        ends, words = [], []  # from the base to the window's first and last byte, and words before them
        for name in ("base", "limit"):
            over = Signal(ADDRESS_WIDTH + 1, name=f"{name}_over", reset_less=True)
            count = Signal(config.address_width + 1, name=f"{name}_words", reset_less=True)
            ends.append((over, readable[name]))
            words.append((count, over))
        with m.State("CHOOSE"):
            m.d.sync += [self.writable.eq(mine.writable), readable.eq(mine.readable)]
            m.d.sync += base.eq(Array(self.base)[channel])
            m.next = "SUBTRACT"
            with m.If(~mine.enable | ~steady):
                m.next = "HOLD"
        with m.State("SUBTRACT"):
            m.d.sync += [over.eq(address - base) for over, address in ends]
            m.next = "WORDS"
        with m.State("WORDS"):
            most = 1 << config.address_width
            for count, over in words:
                beyond = over[low + config.address_width : ADDRESS_WIDTH].any()
                m.d.sync += count.eq(Mux(over[-1], 0, Mux(beyond, most, over[low : low + config.address_width])))
            m.next = "STORE"
        with m.State("STORE"):
            (begin, _), (end, _) = words
            # A window that begins after the channel's last word is empty.
            empty = begin[-1] | (end <= begin)
            start, stop = Mux(empty, 0, begin), Mux(empty, 0, end)
            for index, window_ in enumerate(self.channel):
                with m.If(channel == index):
                    m.d.sync += [window_.base.eq(start), window_.limit.eq(stop)]
            with m.If(first | (start > self.all.base)):
                m.d.sync += self.all.base.eq(start)
            with m.If(first | (stop < self.all.limit)):
                m.d.sync += self.all.limit.eq(stop)
            m.next = "NEXT"
