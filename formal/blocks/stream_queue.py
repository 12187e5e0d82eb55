"""StreamQueue: order, level, room."""

from amaranth.hdl import Const, Mux, Signal

from formal.harness import Harness, Scoreboard
from formal.methods import Induction
from formal.proof import Proof
from formal.seeds import Bug
from hdl.stream.stream_queue import StreamQueue

__all__ = ["PROOFS", "queue_lemmas"]

_MODULE = "hdl.stream.stream_queue"


def queue_lemmas(h: Harness, queue) -> None:
    """What holds of the registers of an opened queue: for proofs of blocks that it is a part of."""
    count, valid = queue("count"), queue("valid", "_output")
    given = queue("given", "_read_block") if queue.block.deep else Const(0, 1)
    places = queue("places")
    h.lemma(count <= places)
    h.lemma(queue("room") == (count != places))
    h.lemma(queue("filled") == (count != 0))
    h.lemma(queue.block.level == count + valid + given)
    # A full memory means an item before the output, and that the output holds one, too.
    h.lemma((count != places) | (valid & (given if queue.block.deep else 1)))


def queue(depth: int, width: int) -> Harness:
    h = Harness()
    m = h.m
    inside = h.open(StreamQueue(width, depth=depth))
    dut = inside.block
    spy = inside.module.submodules.memory.read_port(domain="comb")
    pushed, popped = h.source(dut.i, "i"), h.sink(dut.o)
    board = Scoreboard(h, pushed, popped, depth)
    want = board.follow(h, dut.i.payload, dut.o.payload)
    h.claim("level is the number of items inside", dut.level == board.inside)
    h.claim("takes an item whenever it holds fewer than depth", dut.i.ready | (board.inside == depth))

    queue_lemmas(h, inside)
    places, count, valid = inside("places"), inside("count"), inside("valid", "_output")
    given = inside("given", "_read_block") if dut.deep else Const(0, 1)
    write, read = (inside("place", "_step", call) for call in range(2))
    h.lemma((write < places) & (read < places))
    apart = h.let("apart", Mux(write >= read, write - read, write + places - read))
    h.lemma((count == apart) | ((count == places) & (apart == 0)))
    # The chosen item is in the output, or the word read from a block RAM, or in its place of the memory.
    at = Signal(range(2 * places))
    m.d.comb += [
        at.eq((read + board.ahead - valid - given).as_unsigned()),
        spy.addr.eq(Mux(at >= places, at - places, at)),
    ]
    with m.If(board.live):
        with m.If(valid & (board.ahead == 0)):
            h.lemma(dut.o.payload == want)
        with m.Elif(board.ahead >= valid + given):
            h.lemma(spy.data == want)
        with m.Else():
            h.lemma(inside("read", "_read_block").data == want if dut.deep else Const(1))
    h.cover("an item comes out of the memory", board.leaves & (dut.level > 1))
    return h


_BUGS = {
    "a full memory still takes": Bug(_MODULE, "count == places - 1", "count == places"),
    "an item leaves as it waits": Bug(_MODULE, "(~valid | self.o.ready)),", "(valid | self.o.ready)),"),
    "a word is read over another": Bug(_MODULE, "take.eq(filled & (~given | give))", "take.eq(filled)"),
}


def _proof(depth: int, bug: str, reach: int = 8) -> Proof:
    return Proof(
        name=f"stream_queue_{depth}",
        block="StreamQueue",
        configuration=f"depth {depth}",
        build=lambda: queue(depth, 8),
        method=Induction(),
        bugs=(_BUGS[bug],),
        reach=reach,
    )


PROOFS = (
    _proof(3, "a full memory still takes"),
    _proof(4, "a full memory still takes", 9),
    _proof(5, "an item leaves as it waits"),
    _proof(17, "a full memory still takes", 21),
    _proof(64, "an item leaves as it waits"),
    _proof(65, "a word is read over another"),
    _proof(257, "a word is read over another"),
)
