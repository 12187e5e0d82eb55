"""Writes the surviving tokens as the new id list."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.cascade.entries import entry, log_lanes
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import ID_WIDTH
from hdl.stream.stream_queue import StreamQueue
from hdl.topk.line_packer import LinePacker
from hdl.topk.zero_eliminator import ZeroEliminator

__all__ = ["IdWriter"]


class IdWriter(wiring.Component):
    """Survivors pushed together to words of the new list. A word in every cycle; none waits inside but in the queue.

    Members
    -------
    i : In(stream.Signature(masked_group(entry(config), lanes), always_ready=True))    words of tokens, not heads, only
                                  while ``room`` was high in the cycle before
    room : Out(1)                 a word can be taken
    list : In(1)                  list that is written
    clear : In(1)                 a new selection begins
    id_write : Out(stream.Signature(id_write(config)))    surviving tokens, at positions 0, 1, 2, …, a word at a time
    done : Out(1)                 the table's last word has been taken from the queue; until ``clear``
    num_survivors : Out(count_width)    with ``done``: tokens of the new list
    last_id : Out(ID_WIDTH)       the last of them
    """

    WORDS = 4
    """Words of the new list that may wait before the reading does."""

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(payloads.masked_group(entry(config), config.lanes), always_ready=True)),
                "room": Out(1),
                "list": In(1),
                "clear": In(1),
                "id_write": Out(stream.Signature(payloads.id_write(config))),
                "done": Out(1),
                "num_survivors": Out(config.count_width),
                "last_id": Out(ID_WIDTH),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, lanes = self.config, range(self.config.lanes)
        m.submodules.eliminator = eliminator = ZeroEliminator(entry(config), lanes=config.lanes)
        m.submodules.packer = packer = LinePacker(entry(config), lanes_in=config.lanes, lanes_out=config.lanes)
        # Eliminator and packer never wait: the queue has room for all that is in them when words cease to come.
        depth = self.WORDS + eliminator.latency + packer.latency + 4
        m.submodules.ids = queue = StreamQueue(payloads.id_write(config), depth=depth)
        room, count, ended = Signal(), Signal.like(self.num_survivors), Signal()
        m.d.sync += room.eq(queue.level < self.WORDS)
        wiring.connect(m, eliminator.o, packer.i)
        wiring.connect(m, queue.o, wiring.flipped(self.id_write))
        group, write = packer.o, queue.i
        m.d.comb += [
            self.room.eq(room),
            eliminator.i.valid.eq(self.i.valid),
            eliminator.i.p.eq(self.i.p),
            packer.size.eq(config.lanes),
            write.valid.eq(group.valid),
            group.ready.eq(1),
            write.p.list.eq(self.list),
            write.p.first.eq(count == 0),
            write.p.word.eq(count >> log_lanes(config)),
            *(write.p.mask[lane].eq(lane < group.p.count) for lane in lanes),
            *(write.p.ids[lane].eq(group.p.items[lane].id) for lane in lanes),
            *(write.p.importance[lane].eq(group.p.items[lane].importance) for lane in lanes),
            self.done.eq(ended & (queue.level == 0)),
        ]
        with m.If(self.clear):
            m.d.sync += ended.eq(0)
        with m.If(group.valid):
            m.d.sync += [count.eq(count + group.p.count), ended.eq(group.p.last)]
            with m.If(group.p.last):
                m.d.sync += [count.eq(0), self.num_survivors.eq(count + group.p.count)]
            for lane in lanes:
                with m.If(lane < group.p.count):
                    m.d.sync += self.last_id.eq(group.p.items[lane].id)
        return m
