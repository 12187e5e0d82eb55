"""Cumulative importance of the tokens (paper section III-A), beside the critical path."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.pruning.line_filter import lanes_below
from hdl.spec import numerics as N
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count

__all__ = ["SumMemory", "TokenImportance", "saturated"]


def saturated(value: Value, width: int) -> Value:
    """An unsigned value, limited to ``width`` bits."""
    return Mux(value[width:].any(), (1 << width) - 1, value[:width])


class SumMemory(wiring.Component):
    """Memory of saturating unsigned sums: one addition a cycle, also to the same entry again and again.

    Memory data, operands and the sum are registers of their own. An entry that one of the three additions before is
    still changing is taken from there. What an addition left is read from ``LATENCY`` cycles after it on.

    Members
    -------
    add_en, add_addr : In         add to an entry
    add_fresh : In(1)             the entry counts as 0
    addend : In(addend_width)     one cycle after ``add_en``
    write_en, write_addr, write_data : In    set an entry; no addition may be inside
    read_en, read_addr : In       read an entry; not together with ``add_en``
    data : Out(width)             the entry, one enabled cycle later; holds until the next read or addition
    """

    LATENCY = 4

    def __init__(self, *, width: int, addr_width: int, addend_width: int):
        if not 1 <= addend_width <= width:
            raise ValueError(f"addend_width must be from 1 to width ({width}), not {addend_width!r}")
        self.width, self.addr_width = width, addr_width
        super().__init__(
            {
                "add_en": In(1),
                "add_addr": In(addr_width),
                "add_fresh": In(1),
                "addend": In(addend_width),
                "write_en": In(1),
                "write_addr": In(addr_width),
                "write_data": In(width),
                "read_en": In(1),
                "read_addr": In(addr_width),
                "data": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.width, depth=1 << self.addr_width, init=[])
        write, read = memory.write_port(), memory.read_port()
        # Additions 1, 2 and 3 cycles after add_en: data, operands, sum; index 0 is add_en itself.
        en = [self.add_en, *(Signal(name=f"en_{k}") for k in range(1, 4))]
        addr = [self.add_addr, *(Signal(self.addr_width, name=f"addr_{k}", reset_less=True) for k in range(1, 4))]
        for k in range(1, 4):
            m.d.sync += [en[k].eq(en[k - 1]), addr[k].eq(addr[k - 1])]
        total = self.add(m, read.data, [en[k] & (addr[k] == self.add_addr) for k in range(1, 4)])
        m.d.comb += [
            read.en.eq(self.add_en | self.read_en),
            read.addr.eq(Mux(self.add_en, self.add_addr, self.read_addr)),
            self.data.eq(read.data),
            write.en.eq(en[3] | self.write_en),
            write.addr.eq(Mux(self.write_en, self.write_addr, addr[3])),
            write.data.eq(Mux(self.write_en, self.write_data, total)),
        ]
        return m

    def add(self, m: Module, data: Value, same: list[Value]) -> Signal:
        """The sum, three cycles after ``add_en``; ``same[k]``: the addition k+1 cycles ahead is to the same entry."""
        fresh, chained = Signal(reset_less=True), Signal(reset_less=True)
        ahead = Signal(3, reset_less=True)
        base, addend = Signal(self.width, reset_less=True), Signal.like(self.addend, reset_less=True)
        total, before = Signal(self.width, reset_less=True), Signal(self.width, reset_less=True)
        m.d.sync += [
            fresh.eq(self.add_fresh),
            ahead.eq(Cat(same)),
            # The addition right ahead has no sum yet: it is taken one cycle later.
            chained.eq(ahead[0] & ~fresh),
            base.eq(Mux(fresh, 0, Mux(ahead[1], total, Mux(ahead[2], before, data)))),
            addend.eq(self.addend),
            total.eq(saturated(Mux(chained, total, base) + addend, self.width)),
            before.eq(total),
        ]
        return total


class TokenImportance(wiring.Component):
    """Add the probabilities of lines to the importance of their key positions, saturating, a line every cycle.

    Position p is word p // lanes of bank p mod lanes. Row B of a packed line may need banks that row A needs, too; its
    lanes, the first positions of the list, are summed in registers until ``fold`` adds them to the banks. Then it is
    bit-exact with :func:`golden.datapath.cascade.accumulate`. Entries hold rubbish until they are written; a write with
    ``first`` begins a new list and clears the registers.

    Members
    -------
    probs : In(stream.Signature(prob_line(config), always_ready=True))    of dropped rows nothing is added
    accumulate : In(contexts)     whether the lines of a job in flight are added, by ``a_tag.context``
    write : In(stream.Signature(id_write(config), always_ready=True))     set entries of a word, only while not
                                  ``busy``; ``list`` is not read
    fold : In(1)                  pulse: add the sums of row B's lanes, in the first cycle after it without a line
    busy : Out(1)                 lines inside that are added, or folding; from the cycle after line or pulse on
    read_en, read_word : In       read a word of entries, only while not ``busy``; also in the cycle after its write
    ids : Out(ArrayLayout(position_width, lanes))    of the entries, one enabled cycle later; hold until the next read
                                  or line
    importance : Out(ArrayLayout(32, lanes))    UQ16.16
    """

    def __init__(self, config: Config):
        self.config = config
        self.log_lanes = config.lanes.bit_length() - 1
        self.word_width = bits_for_count(-(-config.max_tokens // config.lanes) - 1)
        super().__init__(
            {
                "probs": In(stream.Signature(payloads.prob_line(config), always_ready=True)),
                "accumulate": In(config.contexts),
                "write": In(stream.Signature(payloads.id_write(config), always_ready=True)),
                "fold": In(1),
                "busy": Out(1),
                "read_en": In(1),
                "read_word": In(self.word_width),
                "ids": Out(data.ArrayLayout(config.position_width, config.lanes)),
                "importance": Out(data.ArrayLayout(N.IMPORTANCE_WIDTH, config.lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        line = Signal(self.probs.payload.shape(), reset_less=True)
        # Lanes of row A and number of lanes of row B that are added; the line is no line, but the fold.
        a_mask, b_count, fold = Signal(self.config.lanes), Signal.like(line.b_count), Signal()
        self.take(m, line, a_mask, b_count, fold)
        folding = Signal()
        m.d.sync += folding.eq(fold)
        sums = self.repeated_keys(m, line, b_count, folding)

        probs, en = self.by_bank(line.start, line.probs), self.by_bank(line.start, a_mask)
        for number in range(self.config.lanes):
            prob = Signal(N.EXP_WIDTH, name=f"prob_{number}", reset_less=True)
            m.d.sync += prob.eq(probs[number])
            addend = Mux(folding, sums[number], prob) if number < len(sums) else prob
            self.bank(m, number, line.start, en[number], addend)
        self.keep_ids(m)
        return m

    def take(self, m: Module, line, a_mask: Signal, b_count: Signal, fold: Signal) -> None:
        """Register the line, or put the fold where no line comes: as row A, with the positions that row B can have."""
        new, lanes = self.probs.payload, self.config.lanes
        inside = Signal(SumMemory.LATENCY)
        waiting, step, counts = Signal(), Signal(), Signal()
        m.d.comb += [
            step.eq(waiting & ~self.probs.valid),
            counts.eq(self.probs.valid & self.accumulate.bit_select(new.a_tag.context, 1)),
            self.busy.eq(inside.any() | waiting),
        ]
        m.d.sync += [
            line.eq(new),
            a_mask.eq(Mux(counts & ~new.a_drop, Cat(lanes_below(new.a_count, lanes)), 0)),
            b_count.eq(Mux(counts & ~new.b_drop, new.b_count, 0)),
            # Lines that add nothing do not count: else a list could not be written while rows of other jobs pass.
            inside.eq(Cat(counts | step, inside)),
            fold.eq(step),
        ]
        if lanes > 1:
            m.d.sync += waiting.eq(self.fold | (waiting & ~step))
            with m.If(step):
                m.d.sync += [line.start.eq(0), a_mask.eq((1 << (lanes - 1)) - 1)]

    def by_bank(self, start: Value, lanes) -> list[Value]:
        """Items of lanes, moved to the banks of their positions ``start``, ``start + 1``, …."""
        items = list(lanes)
        for level in range(self.log_lanes):
            items = [Mux(start[level], items[bank - (1 << level)], items[bank]) for bank in range(len(items))]
        return items

    def repeated_keys(self, m: Module, line, b_count: Signal, folding: Signal) -> list[Signal]:
        """Sums of row B's lanes, by position; they take the line's, or are cleared, in the cycle after it."""
        items = list(line.probs)
        for level in range(self.log_lanes):
            later = [*items[1 << level :], *items[: 1 << level]]
            items = [Mux(line.a_count[level], far, near) for far, near in zip(later, items, strict=True)]
        sums = []
        for position in range(self.config.lanes - 1):
            total = Signal(N.IMPORTANCE_WIDTH, name=f"sum_{position}")
            prob = Signal(N.EXP_WIDTH, name=f"b_prob_{position}", reset_less=True)
            en = Signal(name=f"b_en_{position}")
            m.d.sync += [prob.eq(items[position]), en.eq(position < b_count)]
            with m.If(folding | (self.write.valid & self.write.payload.first)):
                m.d.sync += total.eq(0)
            with m.Elif(en):
                m.d.sync += total.eq(saturated(total + prob, N.IMPORTANCE_WIDTH))
            sums.append(total)
        return sums

    def bank(self, m: Module, number: int, start: Value, en: Value, addend: Value) -> None:
        """One bank; the line from ``start`` on has its positions in one word, or in that and the next."""
        bank = SumMemory(width=N.IMPORTANCE_WIDTH, addr_width=self.word_width, addend_width=len(addend))
        m.submodules[f"bank_{number}"] = bank
        entry = self.write.payload
        m.d.comb += [
            bank.add_en.eq(en),
            bank.add_addr.eq((start >> self.log_lanes) + (start[: self.log_lanes] > number)),
            bank.addend.eq(addend),
            bank.write_en.eq(self.write.valid & entry.mask[number]),
            bank.write_addr.eq(entry.word),
            bank.write_data.eq(entry.importance[number]),
            bank.read_en.eq(self.read_en),
            bank.read_addr.eq(self.read_word),
            self.importance[number].eq(bank.data),
        ]

    def keep_ids(self, m: Module) -> None:
        """Memories of the ids, by bank."""
        entry = self.write.payload
        for number in range(self.config.lanes):
            memory = Memory(shape=self.config.position_width, depth=1 << self.word_width, init=[])
            m.submodules[f"ids_{number}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(self.write.valid & entry.mask[number]),
                write.addr.eq(entry.word),
                write.data.eq(entry.ids[number]),
                read.en.eq(self.read_en),
                read.addr.eq(self.read_word),
                self.ids[number].eq(read.data),
            ]
