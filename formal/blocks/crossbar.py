"""RoundRobin: one grant, and each its turn."""

from amaranth.hdl import Signal

from formal.harness import Harness
from formal.methods import Pdr
from formal.proof import Proof
from formal.seeds import Bug
from hdl.fetch.crossbar import RoundRobin

__all__ = ["PROOFS"]


def round_robin(count: int) -> Harness:
    h = Harness()
    dut = h.block(RoundRobin(count))
    h.free(dut.requests)
    grant, requests = dut.grant, dut.requests
    h.claim("grants requests only", (grant & ~requests) == 0)
    h.claim("grants one at most", (grant & (grant - 1))[:count] == 0)
    h.claim("grants if there is a request", requests.any() == grant.any())
    h.claim("index is that of the grant", ~grant.any() | ((1 << dut.index) == grant))
    which = h.any((count - 1).bit_length(), "which", constant=True)
    waits, granted = (requests >> which)[0], (grant >> which)[0]
    passed = Signal(range(count + 1))
    with h.m.If(waits & ~granted):
        h.m.d.sync += passed.eq(passed + 1)
    with h.m.Else():
        h.m.d.sync += passed.eq(0)
    h.claim("a request is granted after all others at the latest", passed < count)
    h.cover("a request waits for all others", passed == count - 1)
    return h


PROOFS = tuple(
    Proof(
        name=f"round_robin_{count}",
        block="RoundRobin",
        configuration=f"{count} requests",
        build=lambda count=count: round_robin(count),
        method=Pdr(),
        bugs=(Bug("hdl.fetch.crossbar", "later.eq(~(self.grant | (self.grant - 1)))", "later.eq(~self.grant)"),),
    )
    for count in (3, 4, 16)
)
