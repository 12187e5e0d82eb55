"""Records of the core's results, waiting for the host."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fpga.spec.protocol import MAX_PAYLOAD, RESULT_STREAM, STAMP_BYTES
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["CycleStamp", "ResultQueue", "byte_count", "record_byte", "record_sizes", "result_layouts"]


def byte_count(shape: data.Layout) -> int:
    """Whole bytes of an item."""
    return -(-Shape.cast(shape).width // 8)


def result_layouts(config: Config) -> dict[str, data.StructLayout]:
    """Items of the core's streams by name."""
    return {
        "out": payloads.job_output(config),
        "prob": payloads.job_probs(config),
        "status": payloads.job_status(config),
        "survivor": payloads.survivor(config),
    }


def record_sizes(config: Config) -> list[int]:
    """Bytes of a record, by stream number."""
    shapes = result_layouts(config)
    sizes = {
        RESULT_STREAM[name]: 1 + byte_count(shape) + STAMP_BYTES * (name == "status") for name, shape in shapes.items()
    }
    return [sizes[number] for number in range(len(sizes))]


def record_byte() -> data.StructLayout:
    return data.StructLayout({"byte": 8, "last": 1})  # last: of the record


class CycleStamp(wiring.Component):
    """Cycles since reset; a second half counts the wraps of the first, one cycle ahead of them.

    Members
    -------
    cycle : Out(48)    wraps
    """

    LOW, HIGH = 32, 16

    def __init__(self):
        super().__init__({"cycle": Out(self.LOW + self.HIGH)})

    def elaborate(self, platform):
        m = Module()
        low, high, carry = Signal(self.LOW), Signal(self.HIGH), Signal()
        m.d.sync += [low.eq(low + 1), carry.eq(low == (1 << self.LOW) - 2), high.eq(high + carry)]
        m.d.comb += self.cycle.eq(Cat(low, high))
        return m


class ResultQueue(wiring.Component):
    """Takes the core's results, makes records of them and holds up to DEPTH bytes; when it is full the core waits.

    A record is the stream's number, the item in whole bytes and, of a status, the cycle in which the core gave it. A
    record is offered only when all of it is here. Each stream has a register; records go in at a byte a cycle, a
    status after everything that was taken before it. A stream whose bit in ``keep`` is 0 is taken and dropped at
    full speed; a status is always kept.

    Members
    -------
    out, prob, status, survivor : In(stream.Signature(…))    from the core
    keep : In(4)                                             by stream number
    o : Out(stream.Signature(record_byte()))
    """

    DEPTH = 4096

    def __init__(self, config: Config):
        self.config = config
        self.sizes = record_sizes(config)
        for name, number in RESULT_STREAM.items():
            if self.sizes[number] > MAX_PAYLOAD:
                raise ValueError(
                    f"a record of {name} must be at most {MAX_PAYLOAD} bytes for the link, not {self.sizes[number]}"
                )
        shapes = result_layouts(config)
        super().__init__(
            {
                **{name: In(stream.Signature(shape)) for name, shape in shapes.items()},
                "keep": In(len(shapes)),
                "o": Out(stream.Signature(record_byte())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = self._queue = StreamQueue(record_byte(), depth=self.DEPTH)
        m.submodules.stamp = self._stamp = CycleStamp()
        records = {name: self._hold(m, name) for name in ("out", "prob", "survivor", "status")}
        self._serialize(m, records)
        self._offer(m)
        return m

    def _hold(self, m, name):
        """Register of a stream: (record in it, whether it is full, when it is taken)."""
        port, number = getattr(self, name), RESULT_STREAM[name]
        full, taken = Signal(name=f"{name}_full"), Signal(name=f"{name}_taken")
        item = Signal(8 * byte_count(port.payload.shape()), reset_less=True, name=f"{name}_item")
        stamp = Signal(8 * STAMP_BYTES, reset_less=True, name=f"{name}_stamp") if name == "status" else Const(0, 0)
        keep = Const(1) if name == "status" else self.keep[number]
        m.d.comb += port.ready.eq(~full | ~keep)
        with m.If(taken):
            m.d.sync += full.eq(0)
        with m.If(~full):
            m.d.sync += [full.eq(port.valid & keep), item.eq(Value.cast(port.payload))]
            if name == "status":
                m.d.sync += stamp.eq(self._stamp.cycle)
        return Cat(Const(number, 8), item, stamp), full, taken

    def _serialize(self, m, records):
        """The first full register, in the order of ``records``, to the queue: a status comes last."""
        shifter = Signal(8 * max(self.sizes), reset_less=True)
        left = Signal(bits_for_count(max(self.sizes)), reset_less=True)
        active, last, move = Signal(), Signal(reset_less=True), Signal()
        chosen = Signal(len(records))  # a bit for each register; a cycle before its record moves on
        i = self._queue.i
        m.d.comb += [
            i.valid.eq(active),
            i.payload.byte.eq(shifter),
            i.payload.last.eq(last),
            move.eq(active & i.ready),
        ]
        m.d.sync += chosen.eq(0)
        with m.If(move):
            # A record is two bytes at least.
            m.d.sync += [shifter.eq(shifter >> 8), left.eq(left - 1), last.eq(left == 2), active.eq(~last)]
        with m.If(~active):
            with m.If(chosen == 0):
                waiting = Cat(full for _, full, _ in records.values())
                m.d.sync += chosen.eq(waiting & (~waiting + 1))
            for bit, (name, (record, _, taken)) in zip(chosen, records.items(), strict=True):
                with m.If(bit):
                    m.d.comb += taken.eq(1)
                    m.d.sync += [active.eq(1), last.eq(0), shifter.eq(record)]
                    m.d.sync += left.eq(self.sizes[RESULT_STREAM[name]])

    def _offer(self, m):
        """Count the records that are whole; the first byte of one that is not has to wait."""
        i, o = self._queue.i, self._queue.o
        whole, inside, some = Signal(range(self.DEPTH)), Signal(), Signal()
        written, begun = Signal(), Signal()  # a cycle ago; a record is two bytes at least, so that this is soon enough
        after = Signal.like(whole)
        m.d.comb += [
            self.o.payload.eq(o.payload),
            self.o.valid.eq(o.valid & (inside | some)),
            o.ready.eq(self.o.ready & (inside | some)),
            after.eq(whole + written - begun),
        ]
        m.d.sync += [
            written.eq(i.valid & i.ready & i.payload.last),
            begun.eq(self.o.valid & self.o.ready & ~inside),
            whole.eq(after),
            some.eq(after != 0),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += inside.eq(~self.o.payload.last)
