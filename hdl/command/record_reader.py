"""Records of a table, out of the words in which they lie."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Shape, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.read_port import WORDS_WIDTH, ReadPort, check_word_width, read_request
from hdl.stream.stream_queue import StreamQueue

__all__ = ["RecordFetcher", "RecordReader", "read_record", "record_request"]


def read_record(shape: ShapeLike) -> data.StructLayout:
    """A record, and whether the table ends with it."""
    return data.StructLayout({"record": shape, "last": 1, "error": 1})


class RecordReader(wiring.Component):
    """Cuts words into records, or puts records together of words; the first one begins with a word.

    ``start`` names how many records come; with the last one the rest of its word is dropped. Of none, no word is
    taken and nothing comes out. A record is in error if one of its words is. A record a cycle, or a word a cycle if
    records are larger; latency 1 from the last word of a record; the next ``start`` is taken after the last record.

    Members
    -------
    start : In(stream.Signature(WORDS_WIDTH))        number of records
    word : In(stream.Signature(StructLayout(data, error)))
    o : Out(stream.Signature(read_record(shape)))
    """

    LATENCY = 1

    def __init__(self, shape: ShapeLike, *, word_width: int):
        check_word_width(word_width)
        self.shape, self.word_width = shape, word_width
        self.bits = Shape.cast(shape).width
        if self.bits % word_width and word_width % self.bits:
            raise ValueError(f"shape must be a multiple or a part of {word_width} bits, not {self.bits}")
        super().__init__(
            {
                "start": In(stream.Signature(WORDS_WIDTH)),
                "word": In(stream.Signature(data.StructLayout({"data": word_width, "error": 1}))),
                "o": Out(stream.Signature(read_record(shape))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        left, busy = Signal(WORDS_WIDTH, reset_less=True), Signal()  # records that are not out
        taken = Signal()
        m.d.comb += [
            self.start.ready.eq(~busy),
            taken.eq(self.o.valid & self.o.ready),
            self.o.payload.last.eq(left == 1),
        ]
        with m.If(self.start.valid & self.start.ready):
            m.d.sync += [left.eq(self.start.payload), busy.eq(self.start.payload != 0)]
        with m.If(taken):
            m.d.sync += left.eq(left - 1)
            with m.If(self.o.payload.last):
                m.d.sync += busy.eq(0)
        if self.bits > self.word_width:
            self._join(m, busy, taken)
        else:
            self._cut(m, busy, taken)
        return m

    def _cut(self, m, busy, taken):
        """Records out of a word that is held."""
        per = self.word_width // self.bits
        word, full = Signal(self.word_width, reset_less=True), Signal()
        error = Signal(reset_less=True)
        place = Signal(range(per)) if per > 1 else Signal(1)
        done = Signal()  # with this record the word is used up
        m.d.comb += [
            done.eq(taken & ((place == per - 1) | self.o.payload.last)),
            self.word.ready.eq(busy & (~full | (done & ~self.o.payload.last))),
            self.o.valid.eq(full),
            Value.cast(self.o.payload.record).eq(word[: self.bits]),
            self.o.payload.error.eq(error),
        ]
        with m.If(taken):
            m.d.sync += [place.eq(Mux(done, 0, place + 1)), word.eq(word[self.bits :])]
        with m.If(self.word.valid & self.word.ready):
            m.d.sync += [full.eq(1), word.eq(self.word.payload.data), error.eq(self.word.payload.error)]
        with m.Elif(done):
            m.d.sync += full.eq(0)

    def _join(self, m, busy, taken):
        """Words, the first one lowest, until a record is complete."""
        parts = self.bits // self.word_width
        record, full = Signal(self.bits, reset_less=True), Signal()
        error, place = Signal(reset_less=True), Signal(range(parts))
        m.d.comb += [
            self.word.ready.eq(busy & (~full | (taken & ~self.o.payload.last))),
            self.o.valid.eq(full),
            Value.cast(self.o.payload.record).eq(record),
            self.o.payload.error.eq(error),
        ]
        with m.If(taken):
            m.d.sync += full.eq(0)
        with m.If(self.word.valid & self.word.ready):
            m.d.sync += [
                record.eq(Cat(record[self.word_width :], self.word.payload.data)),
                error.eq(self.word.payload.error | (error & (place != 0))),
                full.eq(place == parts - 1),
                place.eq(Mux(place == parts - 1, 0, place + 1)),
            ]


def record_request() -> data.StructLayout:
    """``records`` records, at least one, of the words of a request, which begin with a record."""
    return data.StructLayout({**read_request().members, "records": WORDS_WIDTH})


class RecordFetcher(wiring.Component):
    """Asks for words, and makes records of them, in the order of the requests.

    A request is taken though records of ``ahead`` requests before it have not left, or fewer. Latency 1 from
    ``request`` to the port, a request every other cycle; that of a :class:`RecordReader` from the words to the records.

    Members
    -------
    request : In(stream.Signature(record_request))
    port : Out(ReadPort)
    o : Out(stream.Signature(read_record(shape)))
    """

    def __init__(self, shape: ShapeLike, *, word_width: int, ahead: int = 3):
        if not isinstance(ahead, int) or ahead < 3:
            raise ValueError(f"ahead must be an integer of at least 3, not {ahead!r}")
        self.shape, self.word_width, self.ahead = shape, check_word_width(word_width), ahead
        super().__init__(
            {
                "request": In(stream.Signature(record_request())),
                "port": Out(ReadPort(word_width)),
                "o": Out(stream.Signature(read_record(shape))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.starts = starts = StreamQueue(WORDS_WIDTH, depth=self.ahead)
        m.submodules.reader = reader = RecordReader(self.shape, word_width=self.word_width)
        connect(m, starts.o, reader.start)
        connect(m, flipped(self.port.word), reader.word)
        connect(m, reader.o, flipped(self.o))
        ask, request, wanted = Signal(), self.port.request, self.request.payload
        m.d.comb += [
            self.request.ready.eq(~ask & starts.i.ready),
            starts.i.valid.eq(self.request.valid & ~ask),
            starts.i.payload.eq(wanted.records),
            request.valid.eq(ask),
        ]
        with m.If(self.request.valid & self.request.ready):
            m.d.sync += [ask.eq(1), *(request.payload[name].eq(wanted[name]) for name in ("address", "words"))]
        with m.Elif(request.ready):
            m.d.sync += ask.eq(0)
        return m
