"""StreamSkid, StreamFork, CreditCounter."""

from amaranth.hdl import Cat, Signal

from formal.harness import Harness, Scoreboard
from formal.methods import Induction
from formal.proof import Proof
from formal.seeds import Bug
from hdl.stream.credit_counter import CreditCounter
from hdl.stream.stream_fork import StreamFork
from hdl.stream.stream_skid import StreamSkid

__all__ = ["PROOFS"]


def skid(width: int) -> Harness:
    h = Harness()
    dut = h.block(StreamSkid(width))
    pushed, popped = h.source(dut.i, "i"), h.sink(dut.o)
    board = Scoreboard(h, pushed, popped, 1)
    want = board.follow(h, dut.i.payload, dut.o.payload)
    h.claim("held_valid says whether an item waits", dut.held_valid == board.inside)
    h.claim("held is the item that waits", ~dut.held_valid | (dut.held == dut.o.payload))
    h.claim("an item passes in the same cycle", ~dut.i.valid | dut.o.valid)
    h.lemma(dut.i.ready == ~dut.held_valid)
    h.lemma(~board.live | (dut.held == want))
    h.cover("an item waits, another follows", board.leaves & ~board.chosen)
    return h


def fork(outputs: int) -> Harness:
    h = Harness()
    m, inside = h.m, h.open(StreamFork(4, num_outputs=outputs))
    dut = inside.block
    gone = h.source(dut.i, "i")
    late = []
    for index, output in enumerate(dut.o):
        taken = h.sink(output, "an output")
        got = Signal(name=f"got_{index}")
        h.claim("no output gets an item twice", ~taken | ~got)
        h.claim("every output gets the item itself", ~taken | (output.payload == dut.i.payload))
        h.claim("an item leaves when all have it", ~gone | got | taken)
        h.lemma(inside("taken")[index] == got)
        with m.If(gone):
            m.d.sync += got.eq(0)
        with m.Elif(taken):
            m.d.sync += got.eq(1)
        late.append(got)
    h.cover("an item leaves that one output took before", gone & Cat(late).any())
    return h


def credits(places: int) -> Harness:
    h = Harness()
    inside = h.open(CreditCounter(places))
    dut, free = inside.block, inside("free")
    used = Signal(range(places + 1))
    h.free(dut.take, dut.give)
    h.assume((~dut.take | dut.some) & (~dut.give | (used != 0)))
    h.m.d.sync += used.eq(used + dut.take - dut.give)
    h.claim("some says whether a place is free", dut.some == (used != places))
    h.claim("never more than all places are taken", used <= places)
    h.lemma(free + used == places)
    h.cover("all places are taken", used == places)
    return h


PROOFS = (
    *(
        Proof(
            name=f"stream_skid_{width}",
            block="StreamSkid",
            configuration=f"{width} bits",
            build=lambda width=width: skid(width),
            method=Induction(),
            bugs=(
                Bug(
                    "hdl.stream.stream_skid",
                    "full.eq(self.o.valid & ~self.o.ready)",
                    "full.eq(self.i.valid & ~self.o.ready)",
                ),
            ),
        )
        for width in (1, 32)
    ),
    *(
        Proof(
            name=f"stream_fork_{outputs}",
            block="StreamFork",
            configuration=f"{outputs} outputs",
            build=lambda outputs=outputs: fork(outputs),
            method=Induction(),
            bugs=(
                Bug("hdl.stream.stream_fork", "takes & ~self.i.ready.replicate", "takes & ~self.o[0].ready.replicate"),
            ),
        )
        for outputs in (2, 3, 5)
    ),
    *(
        Proof(
            name=f"credit_counter_{places}",
            block="CreditCounter",
            configuration=f"{places} places",
            build=lambda places=places: credits(places),
            method=Induction(),
            bugs=(Bug("hdl.stream.credit_counter", "(free == 1)", "(free == 0)"),),
            reach=places + 4,
        )
        for places in (1, 2, 9)
    ),
)
