"""RowWindow: rows A and B are the two oldest."""

from amaranth.hdl import Signal

from formal.harness import Harness, Scoreboard
from formal.methods import Pdr
from formal.proof import Proof
from formal.seeds import Bug
from hdl.pruning.row_window import RowWindow

__all__ = ["PROOFS"]


def window(width: int) -> Harness:
    h = Harness()
    dut = h.block(RowWindow(width))
    pushed = h.source(dut.i, "i")
    h.free(dut.advance)
    h.assume(~dut.advance | dut.a_valid)
    board = Scoreboard(h, pushed, dut.advance, RowWindow.DEPTH)
    want = Signal(width)
    with h.m.If(board.chosen):
        h.m.d.sync += want.eq(dut.i.payload)
    with h.m.If(board.live & (board.ahead == 0)):
        h.claim("A is the oldest row", dut.a_valid & (dut.a == want))
    with h.m.If(board.live & (board.ahead == 1)):
        h.claim("B is the row after it", dut.b_valid & (dut.b == want))
    h.claim("a_valid says whether there is a row", dut.a_valid == (board.inside != 0))
    h.claim("b_valid says whether there are two", dut.b_valid == (board.inside > 1))
    h.claim("takes a row unless it holds three", dut.i.ready == (board.inside < RowWindow.DEPTH))
    h.cover("a row moves from B to A", board.live & (board.ahead == 1) & dut.advance)
    return h


PROOFS = (
    Proof(
        name="row_window",
        block="RowWindow",
        configuration="4 bits",
        build=lambda: window(4),
        method=Pdr(),
        bugs=(Bug("hdl.pruning.row_window", "with m.If(~after[index]):", "with m.If(~valid[index]):"),),
    ),
)
