"""PUSH: items into the core's streams."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from fpga.link.command_port import LENGTH_BITS, CommandPort, finish
from fpga.link.item_queue import ItemQueue
from fpga.link.result_queue import byte_count
from fpga.spec.protocol import HOST_STREAM, MAX_PAYLOAD, Error
from hdl.spec import payloads
from hdl.spec.config import Config

__all__ = ["PushCommand", "item_layouts"]


def item_layouts(config: Config) -> dict[str, data.StructLayout]:
    """Items of the core's input streams by name, in the order of their numbers."""
    shapes = {
        "job": payloads.job_descriptor(config),
        "layer": payloads.layer_descriptor(config),
        "heads": payloads.head_entry(config),
        "ids": payloads.job_id_entry(config),
    }
    return {name: shapes[name] for name in sorted(shapes, key=HOST_STREAM.__getitem__)}


class PushCommand(wiring.Component):
    """Puts items together from bytes, into the queue of their stream; waits at most PATIENCE cycles for room.

    Members
    -------
    command : In(CommandPort())
    job, layer, heads, ids : Out(stream.Signature(…))    to the core, each after a queue of two items
    opened : Out(1)                                      pulse: a job or layer went to its queue
    """

    PATIENCE = 1024

    def __init__(self, config: Config):
        self.shapes = item_layouts(config)
        for name, shape in self.shapes.items():
            if byte_count(shape) > MAX_PAYLOAD - 1:
                raise ValueError(
                    f"an item of {name} must be at most {MAX_PAYLOAD - 1} bytes for the link, not {byte_count(shape)}"
                )
        super().__init__(
            {
                "command": In(CommandPort()),
                **{name: Out(stream.Signature(shape)) for name, shape in self.shapes.items()},
                "opened": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        sizes = [byte_count(shape) for shape in self.shapes.values()]
        self._item = Signal(8 * max(sizes), reset_less=True)  # the newest byte is the highest
        self._byte, self._shift = Signal(8, reset_less=True), Signal()  # on its way to the item; its enable is far away
        self._stream = Signal(2)
        self._size = Signal(LENGTH_BITS)  # bytes of an item of the stream
        self._offer, self._room = Signal(), Signal()
        for number, (name, shape) in enumerate(self.shapes.items()):
            m.submodules[f"{name}_queue"] = queue = ItemQueue(shape)
            connect(m, queue.o, flipped(getattr(self, name)))
            m.d.comb += Value.cast(queue.i.payload).eq(self._item[-8 * sizes[number] :])
            with m.If(self._stream == number):
                m.d.comb += [queue.i.valid.eq(self._offer), self._room.eq(queue.i.ready)]
                m.d.sync += self._size.eq(sizes[number])
        with m.If(self._shift):
            m.d.sync += self._item.eq(Cat(self._item[8:], self._byte))
        self._sequence(m)
        return m

    def _sequence(self, m):
        command = self.command
        rest, items = Signal(LENGTH_BITS), Signal(LENGTH_BITS)  # bytes not yet counted; items to come
        m.d.sync += [command.done.eq(0), command.answer.valid.eq(0), self.opened.eq(0), self._shift.eq(0)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [rest.eq(command.length - 1), items.eq(0)]
                with m.If(command.start):
                    m.next = "STREAM"
                    with m.If(command.length == 0):
                        finish(m, command, Error.BAD_LENGTH)
                        m.next = "IDLE"
            with m.State("STREAM"):
                m.d.comb += command.body.ready.eq(1)
                m.d.sync += self._stream.eq(command.body.payload)
                with m.If(command.body.valid):
                    m.next = "SIZE"
                    with m.If(command.body.payload >= len(self.shapes)):
                        finish(m, command, Error.BAD_STREAM)
                        m.next = "IDLE"
            with m.State("SIZE"):
                m.next = "COUNT"
            with m.State("COUNT"):
                self._count(m, rest, items)
            self._move(m, items)

    def _move(self, m, items):
        """Item by item, then the answer."""
        command = self.command
        left, taken = Signal(LENGTH_BITS), Signal(16)  # bytes missing in the item; items in their queue
        timer = Signal(range(self.PATIENCE))
        with m.State("READY"):
            m.d.sync += left.eq(self._size)
            m.next = "FILL"
            with m.If(items == 0):
                m.next = "LOW"
        with m.State("FILL"):
            m.d.comb += command.body.ready.eq(1)
            m.d.sync += timer.eq(self.PATIENCE - 1)
            with m.If(command.body.valid):
                m.d.sync += [self._byte.eq(command.body.payload), self._shift.eq(1), left.eq(left - 1)]
                with m.If(left == 1):
                    m.next = "SETTLE"
        with m.State("SETTLE"):
            m.next = "OFFER"
        with m.State("OFFER"):
            m.d.comb += self._offer.eq(1)
            m.d.sync += timer.eq(timer - 1)
            with m.If(self._room):
                m.next = "MOVED"
            with m.Elif(timer == 0):
                m.next = "LOW"
        with m.State("MOVED"):
            m.d.sync += [taken.eq(taken + 1), items.eq(items - 1), self.opened.eq(self._stream < 2)]
            m.next = "READY"
        with m.State("LOW"):
            m.d.sync += [command.answer.valid.eq(1), command.answer.payload.eq(taken[:8])]
            m.next = "HIGH"
        with m.State("HIGH"):
            m.d.sync += [command.answer.valid.eq(1), command.answer.payload.eq(taken[8:]), taken.eq(0)]
            finish(m, command)
            m.next = "IDLE"

    def _count(self, m, rest, items):
        """Items by repeated subtraction: the payload must be a whole number of them, one at least."""
        less = Signal(LENGTH_BITS + 1)
        m.d.comb += less.eq(rest - self._size)
        with m.If(~less[-1]):
            m.d.sync += [rest.eq(less), items.eq(items + 1)]
        with m.Elif((rest == 0) & (items != 0)):
            m.next = "READY"
        with m.Else():
            finish(m, self.command, Error.BAD_LENGTH)
            m.next = "IDLE"
