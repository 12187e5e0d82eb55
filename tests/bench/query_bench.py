"""What becomes of rows that are issued, for tests of blocks that issue them."""

from __future__ import annotations

from amaranth.hdl import Value

from sim.common.packing import pack

__all__ = ["Datapath", "rows_of"]


def rows_of(records):
    """(context, row, group) of every first pass, in order."""
    return [
        (context, row, row // record["num_queries"])
        for context, record in enumerate(records)
        for row in range(record["rows"])
    ]


class Datapath:
    """Decides rows some time after they were issued; flat ones of summarization jobs come again."""

    def __init__(self, dut, records, rng, *, fast=False):
        self.dut, self.records, self.rng = dut, records, rng
        self.pending, self.final, self.flat = [], [0] * len(records), []
        self.fast, self.settled = fast, 0

    def issued(self, row, second):
        self.pending.append((row, second))

    def drive(self, ctx):
        """Events of a cycle."""
        dut = self.dut
        ctx.set(dut.settled, self.settled)
        self.settled = 0
        ctx.set(dut.decided.valid, 0)
        if not self.pending or not (self.fast or self.rng.random() < 0.3):
            return
        (context, query, group), second = self.pending.pop(0)
        record = self.records[context]
        flat = not second and record["progressive"] and self.rng.random() < 0.5
        tag = {"context": context, "query": query, "group": group, "second": second}
        ctx.set(Value.cast(dut.decided.payload), pack(dut.decided.payload.shape(), {"tag": tag, "flat": flat}))
        ctx.set(dut.decided.valid, 1)
        if flat and not record["generation"]:
            self.flat.append((context, query, group))
        elif not flat:
            self.final[context] += 1
            self.settled = int(self.final[context] == record["rows"] and not record["generation"])
        else:
            self.final[context] += 1  # generation: the second pass does not come this way
