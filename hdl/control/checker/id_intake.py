"""Takes in the key ids of a job, and writes them to an id list while they are right."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import FIELD_WIDTH, ID_WIDTH
from hdl.stream.stream_skid import StreamSkid

__all__ = ["IdIntake"]


class IdIntake(wiring.Component):
    """Read a list's ids up to ``last``; write them while all is well, when the list may be written.

    Ids must ascend strictly, lie below ``num_rows`` and fill every beat but the last. A beat that does not is not
    written, nor is any after it. ``lanes`` ids a cycle; ``done`` comes one
    cycle after the last beat if nothing stalls.

    Members
    -------
    ids : In(stream.Signature(job_id_entry(config)))
    start : In(1)                 pulse: read a list
    clear : In(1)                 no request is inside: nothing is counted yet
    num_rows : In(FIELD_WIDTH)    of the planes; steady
    fine : In(1)                  nothing is wrong with the request so far: ids are written, not only read
    target : In(1)                list that is written
    free : In(2)                  this id list may be written; a free one stays free until the request is answered
    bad : Out(1)                  pulse: a beat is wrong
    done : Out(1)                 pulse: the last beat goes
    writing : Out(1)              a beat waits for ``id_write``
    written : Out(1)              pulse: entries of the list change
    count : Out(FIELD_WIDTH + 1)  ids read
    last_id : Out(ID_WIDTH)       the last of them
    id_write : Out(stream.Signature(id_write(config)))
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "ids": In(stream.Signature(payloads.job_id_entry(config))),
                "start": In(1),
                "clear": In(1),
                "num_rows": In(FIELD_WIDTH),
                "fine": In(1),
                "target": In(1),
                "free": In(2),
                "bad": Out(1),
                "done": Out(1),
                "writing": Out(1),
                "written": Out(1),
                "count": Out(FIELD_WIDTH + 1),
                "last_id": Out(ID_WIDTH),
                "id_write": Out(stream.Signature(payloads.id_write(config))),
            }
        )

    def elaborate(self, platform):
        """What can refuse a beat stands in flip-flops, and so does whether the list can be written."""
        m = Module()
        config = self.config
        beat = Signal(payloads.id_write(config), reset_less=True)  # compared, on its way to the skid
        held, last = Signal(), Signal(reset_less=True)
        good = self._compare(m, beat, last)
        reads = Signal()
        word = Signal(config.position_width)
        wanted, moves = Signal(), Signal()
        free, fine = Signal(), Signal()
        m.d.sync += [free.eq(self.free.bit_select(self.target, 1)), fine.eq(self.fine)]
        m.submodules.skid = skid = StreamSkid(payloads.id_write(config))
        wiring.connect(m, skid.o, wiring.flipped(self.id_write))
        write = skid.i.payload
        m.d.comb += [
            wanted.eq(good & fine),
            skid.i.valid.eq(held & wanted & free),
            moves.eq(held & (~wanted | (free & skid.i.ready))),
            self.ids.ready.eq(reads & (~held | (moves & ~last))),
            self.bad.eq(moves & ~good),
            self.done.eq(moves & last),
            self.writing.eq(skid.held_valid),
            self.written.eq(skid.i.valid & skid.i.ready),
            write.eq(beat),
            write.list.eq(self.target),
            write.first.eq(word == 0),
            write.word.eq(word),
        ]
        with m.If(self.start):
            m.d.sync += reads.eq(1)
        with m.If(moves):
            m.d.sync += [held.eq(0), word.eq(word + 1)]
            with m.If(~good):
                m.d.sync += fine.eq(0)
            with m.If(last):
                m.d.sync += [word.eq(0), reads.eq(0)]
        with m.If(self.ids.valid & self.ids.ready):
            m.d.sync += held.eq(1)
        return m

    def _compare(self, m: Module, beat, last: Signal):
        """Take a beat into its register and compare it; returns whether it is right."""
        config, entry = self.config, self.ids.payload
        begun = Signal()  # ids have come
        whole = Signal(reset_less=True)
        rises, inside = Signal(config.lanes, reset_less=True), Signal(config.lanes, reset_less=True)
        present = [lane < entry.count for lane in range(config.lanes)]
        before = [self.last_id, *entry.ids]
        rising = [entry.ids[lane] > before[lane] for lane in range(config.lanes)]
        rising[0] = rising[0] | ~begun
        with m.If(self.clear):
            m.d.sync += [self.count.eq(0), begun.eq(0)]
        with m.If(self.ids.valid & self.ids.ready):
            m.d.sync += [
                rises.eq(Cat(~there | more for there, more in zip(present, rising, strict=True))),
                inside.eq(Cat(~there | (item < self.num_rows) for there, item in zip(present, entry.ids, strict=True))),
                whole.eq(
                    (entry.count == config.lanes) | (entry.last & (entry.count != 0) & (entry.count < config.lanes))
                ),
                last.eq(entry.last),
                beat.mask.eq(Cat(present)),
                *(beat.ids[lane].eq(entry.ids[lane]) for lane in range(config.lanes)),
                beat.importance.eq(entry.importance),
                self.count.eq(self.count + entry.count),
                begun.eq(1),
            ]
            for lane in range(config.lanes):
                with m.If(present[lane]):
                    m.d.sync += self.last_id.eq(entry.ids[lane])
        return whole & (rises & inside).all()
