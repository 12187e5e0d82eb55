"""How far the loads have come."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.fetch.crossbar import SliceCrossbar
from hdl.fetch.fetch_layouts import kind_of, slice_tag
from hdl.spec.config import Config
from hdl.spec.payloads import KEY, KEY_LSB, VALUE
from hdl.spec.widths import bits_for_count

__all__ = ["ReadyCount"]


class ReadyCount(wiring.Component):
    """Tell how many K and V rows are written, without a flag per row, and when loads are complete.

    Every row has a sequence number, and those of a kind ascend in each queue of slices. So all rows with numbers below
    that of the slice at the head of every queue are written: the least of these marks over the queues is ready. An end
    mark raises its queue's mark to the number with which the next load begins. Numbers are compared modulo
    ``2**seq_width``.

    Latency 2 from the slice at the head of its queue, as long as it takes to write the slice; 1 more with more than 4
    queues, and with more than 16.

    Members
    -------
    heads : In(stream.Signature(struct, always_ready=True)).array(num_heads)    of the SliceCrossbar
    key_ready, value_ready : Out(seq_width)    rows with numbers before this one can be read from the next cycle on
    done : Out(3)    pulse by kind: its oldest load not told yet has ended in all queues
    """

    def __init__(self, config: Config):
        self.config = config
        watched = stream.Signature(data.StructLayout({"tag": slice_tag(config), "accepted": 1}), always_ready=True)
        super().__init__(
            {
                "heads": In(watched).array(SliceCrossbar.num_heads(config)),
                "key_ready": Out(config.seq_width),
                "value_ready": Out(config.seq_width),
                "done": Out(3),
            }
        )

    @staticmethod
    def latency(config: Config) -> int:
        """From the slice at the head of its queue to ``key_ready`` or ``value_ready``."""
        levels = (SliceCrossbar.num_heads(config) - 1).bit_length()
        return 2 + max(0, levels - 1) // 2

    def elaborate(self, platform):
        m = Module()
        for kind in (KEY, KEY_LSB, VALUE):
            self.count_ends(m, kind)
        for kind, ready in ((KEY, self.key_ready), (VALUE, self.value_ready)):
            m.d.sync += ready.eq(self.least(m, self.marks(m, kind), kind))
        return m

    def count_ends(self, m, kind):
        left = []
        for i, head in enumerate(self.heads):
            tag = head.payload.tag
            count = Signal(bits_for_count(self.config.loads), name=f"ends_{kind}_{i}")
            ended = head.valid & head.payload.accepted & tag.end & (kind_of(tag.load) == kind)
            m.d.sync += count.eq(count + ended - self.done[kind])
            left.append(count != 0)
        m.d.comb += self.done[kind].eq(Cat(left).all())

    def marks(self, m, kind):
        marks = []
        for i, head in enumerate(self.heads):
            tag = head.payload.tag
            mark = Signal(self.config.seq_width, name=f"mark_{kind}_{i}")
            with m.If(head.valid & (kind_of(tag.load) == kind)):
                m.d.sync += mark.eq(tag.mark + (tag.row_last & ~tag.end & head.payload.accepted))
            marks.append(mark)
        return marks

    def least(self, m, values, kind):
        """Minimum by a tree with a register after every second level but the last."""
        stages = 0
        while True:
            for _ in range(2):
                pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
                values = [self.earlier(*pair) for pair in pairs]
            if len(values) == 1:
                return values[0]
            held = [Signal(len(v), name=f"least_{kind}_{stages}_{i}") for i, v in enumerate(values)]
            m.d.sync += [signal.eq(value) for signal, value in zip(held, values, strict=True)]
            values = held
            stages += 1

    def earlier(self, a, b=None):
        """Of two numbers, the one that comes before the other: their difference is negative."""
        return a if b is None else Mux((a - b)[self.config.seq_width - 1], a, b)
