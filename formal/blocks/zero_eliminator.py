"""ZeroEliminator: each kept item at its rank."""

from amaranth.hdl import Array, Signal, Value

from formal.harness import Harness, width_of
from formal.methods import Pdr
from formal.proof import Proof
from formal.seeds import Bug
from hdl.topk.zero_eliminator import ZeroEliminator

__all__ = ["PROOFS"]


def eliminator(lanes: int, width: int) -> Harness:
    h = Harness()
    m, dut = h.m, h.block(ZeroEliminator(width, lanes=lanes))
    h.source(dut.i, "i")
    h.sink(dut.o)
    given, keep = [Value.cast(item) for item in dut.i.p.items], dut.i.p.keep
    # Any one lane, and its way through as many registers as the block has.
    lane = h.any(max(1, (lanes - 1).bit_length()), "lane", constant=True)
    h.assume(lane < lanes)
    follow = {
        "valid": dut.i.valid,
        "kept": (keep >> lane)[0],
        "item": Array(given)[lane],
        "rank": sum(keep[k] & (lane > k) for k in range(lanes)),
        "count": sum(keep[k] for k in range(lanes)),
        "last": dut.i.p.last,
    }
    for stage in range(dut.latency):
        after = {name: Signal(width_of(value), name=f"{name}_{stage}") for name, value in follow.items()}
        with m.If(dut.i.ready):
            m.d.sync += [after[name].eq(value) for name, value in follow.items()]
        follow = after
    h.claim("a group out for each group in, latency cycles later", dut.o.valid == follow["valid"])
    h.claim("moves whenever the output is free or taken", dut.i.ready == (~dut.o.valid | dut.o.ready))
    with m.If(dut.o.valid):
        h.claim("count is the number of kept items", dut.o.p.count == follow["count"])
        h.claim("last goes with its group", dut.o.p.last == follow["last"])
        with m.If(follow["kept"]):
            taken = Array(Value.cast(item) for item in dut.o.p.items)[follow["rank"]]
            h.claim("each kept item is at the lane of its rank", taken == follow["item"])
    h.cover("the last item moves", dut.o.valid & follow["kept"] & (lane == lanes - 1) & (follow["rank"] == lanes // 2))
    return h


PROOFS = tuple(
    Proof(
        name=f"zero_eliminator_{lanes}x{width}",
        block="ZeroEliminator",
        configuration=f"{lanes} lanes, {width} bits",
        build=lambda lanes=lanes, width=width: eliminator(lanes, width),
        method=Pdr(),
        bugs=(Bug("hdl.topk.zero_eliminator", "comes = goes[lane + step]", "comes = keep[lane + step]"),),
    )
    for lanes, width in ((3, 4), (4, 4), (8, 4))
)
