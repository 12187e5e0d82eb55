"""Cumulative importance of a layer's query heads (paper section III-B)."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.cascade.serial_multiplier import SerialMultiplier
from hdl.cascade.token_importance import SumMemory, saturated
from hdl.spec import numerics as N
from hdl.spec.config import Config
from hdl.spec.widths import HEAD_FIELD_WIDTH, bits_for_count

__all__ = ["HeadImportance", "head_slot", "head_sum"]


def head_slot(config: Config) -> data.StructLayout:
    """One rank of the table of heads."""
    return data.StructLayout(
        {
            "rank": config.head_width,  # place among the surviving heads of the layer
            "head": HEAD_FIELD_WIDTH,  # its number
            "weight": N.WEIGHT_WIDTH,  # unit of its outputs
            "importance": N.IMPORTANCE_WIDTH,  # so far
        }
    )


def head_sum(config: Config) -> data.StructLayout:
    """Output of one row of a head."""
    return data.StructLayout({"rank": config.head_width, "abs_sum": config.abs_sum_width})


class HeadImportance(wiring.Component):
    """Table of a layer's query heads by rank; Σ|out| of their rows becomes importance at the end of the layer.

    ``update`` makes ``importance = min(importance + (Σ * weight >> HEAD_SHIFT), 2**32 - 1)`` and Σ = 0 with a serial
    multiplier, ``CYCLES`` a rank; bit-exact with :func:`golden.datapath.cascade.head_update`. A row that comes
    meanwhile counts whole in this update or in the next. After reset every Σ is 0; ranks are undefined until they are
    set.

    Members
    -------
    entry : In(stream.Signature(head_slot(config), always_ready=True))    set a rank, but not its Σ; not while updating
    add : In(stream.Signature(head_sum(config), always_ready=True))       Σ|out| of a row; Σ saturates at 48 bits
    update : In(1)                pulse: the ranks below ``count``; not while updating
    count : In(n)                 0…max_heads, read with ``update``
    clear : In(1)                 pulse: every Σ = 0; forgets rows before it, but none beside it (not while updating)
    busy : Out(1)                 rows inside, or updating; from the cycle after row or pulse on
    read_en, read_rank : In       read a rank; not while updating, also in the cycle after its entry
    head : Out(HEAD_FIELD_WIDTH)  of the rank, one enabled cycle later; holds until the next read or update
    importance : Out(IMPORTANCE_WIDTH)    in the host's units
    """

    CYCLES = N.WEIGHT_WIDTH + 3

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "entry": In(stream.Signature(head_slot(config), always_ready=True)),
                "add": In(stream.Signature(head_sum(config), always_ready=True)),
                "update": In(1),
                "count": In(bits_for_count(config.max_heads)),
                "clear": In(1),
                "busy": Out(1),
                "read_en": In(1),
                "read_rank": In(config.head_width),
                "head": Out(HEAD_FIELD_WIDTH),
                "importance": Out(N.IMPORTANCE_WIDTH),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rank, count = Signal.like(self.count, reset_less=True), Signal.like(self.count, reset_less=True)
        reading, writing = Signal(), Signal()
        due, ended = Signal(), Signal()  # in state READ; no rank is left
        last = Signal(reset_less=True)
        inside, total = self.sums(m, rank, reading)
        m.submodules.multiplier = multiplier = SerialMultiplier(factor_width=len(total), weight_width=N.WEIGHT_WIDTH)
        old = Signal.like(self.importance, reset_less=True)
        new = saturated(old + multiplier.product[N.HEAD_SHIFT - N.WEIGHT_WIDTH :], N.IMPORTANCE_WIDTH)
        weight = self.table(m, rank, reading, writing, new)
        m.d.comb += [multiplier.factor.eq(total), multiplier.weight.eq(weight), reading.eq(due & ~ended & ~inside)]
        m.d.sync += last.eq(rank + 1 == count)
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.sync += [rank.eq(0), count.eq(self.count), ended.eq(self.count == 0)]
                with m.If(self.update):
                    m.d.sync += due.eq(1)
                    m.next = "READ"
            with m.State("READ"):
                with m.If(ended):
                    m.d.sync += due.eq(0)
                    m.next = "IDLE"
                with m.Elif(~inside):
                    m.d.sync += due.eq(0)
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += multiplier.load.eq(1)
                m.d.sync += old.eq(self.importance)
                m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.comb += multiplier.step.eq(1)
                with m.If(multiplier.last):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += writing.eq(1)
                m.d.sync += [rank.eq(rank + 1), ended.eq(last), due.eq(1)]
                m.next = "READ"
        m.d.comb += self.busy.eq(inside | ~fsm.ongoing("IDLE"))
        return m

    def sums(self, m: Module, rank: Signal, reading: Signal) -> tuple[Value, Value]:
        """Σ of every rank; returns whether rows are inside, and Σ of the rank that was read in the cycle before."""
        m.submodules.sums = sums = SumMemory(
            width=N.HEAD_SUM_WIDTH, addr_width=self.config.head_width, addend_width=self.config.abs_sum_width
        )
        # The memory is not reset: a flag per rank says that its Σ is 0 whatever the memory has.
        fresh, was_fresh = Signal(self.config.max_heads, init=-1), Signal(reset_less=True)
        inside, row = Signal(SumMemory.LATENCY), Signal(self.add.payload.shape(), reset_less=True)
        addend = Signal(self.config.abs_sum_width, reset_less=True)
        m.d.sync += [
            inside.eq(Cat(self.add.valid, inside)),
            row.eq(self.add.payload),
            addend.eq(row.abs_sum),
            was_fresh.eq(fresh.bit_select(rank, 1)),
        ]
        m.d.comb += [
            sums.add_en.eq(inside[0]),
            sums.add_addr.eq(row.rank),
            sums.add_fresh.eq(fresh.bit_select(row.rank, 1)),
            sums.addend.eq(addend),
            sums.read_en.eq(reading),
            sums.read_addr.eq(rank),
        ]
        with m.If(inside[0]):
            m.d.sync += fresh.bit_select(row.rank, 1).eq(0)
        with m.If(reading):
            m.d.sync += fresh.bit_select(rank, 1).eq(1)
        with m.If(self.clear):
            m.d.sync += fresh.eq(-1)
        return inside.any(), Mux(was_fresh, 0, sums.data)

    def table(self, m: Module, rank: Signal, reading: Signal, writing: Signal, new: Value) -> Value:
        """Memories of what a rank holds beside its Σ, with the update's access; returns the weight that was read."""
        fixed = data.StructLayout({"head": HEAD_FIELD_WIDTH, "weight": N.WEIGHT_WIDTH})
        m.submodules.slots = slots = Memory(shape=fixed, depth=1 << self.config.head_width, init=[])
        m.submodules.importances = importances = Memory(
            shape=N.IMPORTANCE_WIDTH, depth=1 << self.config.head_width, init=[]
        )
        entry = self.entry.payload
        slot_write, importance_write = slots.write_port(), importances.write_port()
        reads = slots.read_port(), importances.read_port()
        m.d.comb += [
            slot_write.en.eq(self.entry.valid),
            slot_write.addr.eq(entry.rank),
            slot_write.data.head.eq(entry.head),
            slot_write.data.weight.eq(entry.weight),
            importance_write.en.eq(self.entry.valid | writing),
            importance_write.addr.eq(Mux(writing, rank, entry.rank)),
            importance_write.data.eq(Mux(writing, new, entry.importance)),
            self.head.eq(reads[0].data.head),
            self.importance.eq(reads[1].data),
        ]
        for port in reads:
            m.d.comb += [port.en.eq(reading | self.read_en), port.addr.eq(Mux(reading, rank, self.read_rank))]
        return reads[0].data.weight
