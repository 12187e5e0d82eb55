"""Words from memory to elements with their constants."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.append.append_layouts import Tensor, append_request, append_row, append_step, check_append_width, plain_element
from hdl.spec.config import Config
from hdl.spec.formats import CONSTANT_BYTES
from hdl.stream.stream_fork import StreamFork
from hdl.stream.stream_queue import StreamQueue

__all__ = ["ElementFeed"]

_ELEMENT, _CONSTANT = 16, 8 * CONSTANT_BYTES


def _log(parts: int) -> int:
    return parts.bit_length() - 1


class ElementFeed(wiring.Component):
    """Keeps the constants of two heads, so that those of the next are read while rows of one are on their way.

    More words can wait than a row has, in block RAM. Latency about 6 from a row's first word; an element a cycle.

    Members
    -------
    request : In(append_request)    holds while steps come
    i : In(stream.Signature(append_step))
    word : In(stream.Signature(StructLayout(data, error)))
    row : Out(stream.Signature(append_row))          no later than its first element
    o : Out(stream.Signature(plain_element))
    error : Out(1)      pulses: a word could not be read
    """

    def __init__(self, config: Config, *, word_width: int):
        self.config, self.word_width = config, check_append_width(word_width)
        super().__init__(
            {
                "request": In(append_request()),
                "i": In(stream.Signature(append_step(config))),
                "word": In(stream.Signature(data.StructLayout({"data": word_width, "error": 1}))),
                "row": Out(stream.Signature(append_row(config))),
                "o": Out(stream.Signature(plain_element())),
                "error": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, width, shape = self.config, self.word_width, append_row(self.config)
        depth = 2 * config.max_dim * _CONSTANT // width
        m.submodules.constants = constants = Memory(shape=width, depth=depth, init=[])
        m.submodules.words = StreamQueue(width, depth=max(StreamQueue.SHALLOW + 1, config.max_dim * _ELEMENT // width))
        m.submodules.rows = rows = StreamQueue(shape, depth=4)
        m.submodules.fork = fork = StreamFork(shape, num_outputs=2)
        connect(m, rows.o, fork.i)
        connect(m, fork.o[0], flipped(self.row))
        released = Signal()  # the constants of a head are no more needed
        self._store(m, constants.write_port(), released)
        self._issue(m, constants.read_port(), fork.o[1], released)
        return m

    def _store(self, m, write, released):
        """Words to the constants or to the rows that wait, as the step says."""
        words, rows, step = m.submodules.words, m.submodules.rows, self.i.payload
        busy, constants, bank = Signal(), Signal(reset_less=True), Signal()
        held = Signal(range(3))  # heads whose constants are here
        place = Signal(len(write.addr) - 1, reset_less=True)
        begins, taken, ends, following = Signal(), Signal(), Signal(), Signal(len(write.addr))
        dim = self.request.plan.dim[:8]
        log_words, log_constants = (_log(self.word_width // size) for size in (_ELEMENT, _CONSTANT))
        m.d.comb += [
            following.eq(place + 1),
            ends.eq(following == Mux(constants, dim >> log_constants, dim >> log_words)),
            self.i.ready.eq(~busy & Mux(step.constants, held != 2, rows.i.ready)),
            begins.eq(self.i.valid & self.i.ready),
            rows.i.valid.eq(self.i.valid & ~busy & ~step.constants),
            rows.i.payload.eq(step.row),
            self.word.ready.eq(busy & (constants | words.i.ready)),
            taken.eq(self.word.valid & self.word.ready),
            self.error.eq(taken & self.word.payload.error),
            words.i.valid.eq(self.word.valid & busy & ~constants),
            words.i.payload.eq(self.word.payload.data),
            write.addr.eq(Cat(place, bank)),
            write.data.eq(self.word.payload.data),
            write.en.eq(taken & constants),
        ]
        m.d.sync += held.eq(held + (begins & step.constants) - released)
        with m.If(begins):
            m.d.sync += [busy.eq(1), constants.eq(step.constants), place.eq(0)]
        with m.If(taken):
            m.d.sync += place.eq(following)
            with m.If(ends):
                m.d.sync += [busy.eq(0), bank.eq(bank ^ constants)]

    def _issue(self, m, read, row, released):
        """The next element of the row, then, when its constant has been read, both."""
        words, plan, out = m.submodules.words, self.request.plan, self.o.payload
        number, bank = Signal(range(self.config.max_dim)), Signal()
        enable, step, ends, following = Signal(), Signal(), Signal(), Signal(len(number) + 1)
        log_words, log_constants = (_log(self.word_width // size) for size in (_ELEMENT, _CONSTANT))
        place, half = number[:log_words], Signal(log_constants, reset_less=True)
        m.d.comb += [
            enable.eq(~self.o.valid | self.o.ready),
            step.eq(row.valid & words.o.valid & enable),
            following.eq(number + 1),
            ends.eq(following == plan.dim[: len(following)]),
            row.ready.eq(step & ends),
            words.o.ready.eq(step & place.all()),
            released.eq(step & ends & row.payload.ends),
            read.addr.eq(Cat(number[log_constants:], bank)),
            read.en.eq(enable),
            out.constant.eq(self._part(read.data, half, _CONSTANT)),
        ]
        with m.If(enable):
            m.d.sync += [
                self.o.valid.eq(step),
                out.word.eq(self._part(words.o.payload, place, _ELEMENT)),
                half.eq(number),
                out.tensor.eq(row.payload.tensor),
                out.bits.eq(self._bits(row.payload.tensor)),
            ]
        with m.If(step):
            m.d.sync += [number.eq(Mux(ends, 0, following)), bank.eq(bank ^ released)]

    @staticmethod
    def _part(word, place, size):
        """The part of so many bits at a place of a word."""
        return Array(word[at : at + size] for at in range(0, len(word), size))[place]

    def _bits(self, tensor):
        plan = self.request.plan
        split = plan.key_bits[:5] + plan.key_lsb_bits[:3]
        return Mux(tensor == Tensor.KEY, split, Mux(tensor == Tensor.VALUE, plan.value_bits, plan.query_bits))
