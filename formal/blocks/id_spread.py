"""IdSpread: each id once, in order, to its class."""

from amaranth.hdl import Array, Cat, Mux, Signal, Value

from formal.harness import Harness
from formal.methods import Bounded, Pdr
from formal.proof import Proof
from formal.seeds import Bug
from hdl.fetch.id_list import IdSpread, class_entry
from hdl.spec.config import PRESETS, Config

__all__ = ["PROOFS"]


def id_spread(config: Config) -> Harness:
    """Any one class, and any one id of it."""
    h = Harness()
    m, dut, lanes = h.m, h.block(IdSpread(config)), config.lanes
    log_channels, log_lanes = config.num_channels.bit_length() - 1, lanes.bit_length() - 1
    taken, beat = h.source(dut.i, "i"), dut.i.payload
    which = h.any(max(1, log_channels), "which", constant=True)
    h.assume(which < config.num_channels)
    mine = h.let(
        "mine", Cat(beat.mask[k] & ((beat.ids[k][:log_channels] == which) if log_channels else 1) for k in range(lanes))
    )
    entry = Signal(class_entry(config))
    m.d.comb += Value.cast(entry).eq(Array(Value.cast(o.payload) for o in dut.o)[which])
    given = h.let("given", Array(o.valid for o in dut.o)[which] & entry.write)
    inside, ahead = Signal(range(4 * lanes)), Signal(range(4 * lanes))
    live, used = Signal(), Signal()
    coming = Mux(taken, sum(mine[k] for k in range(lanes)), 0)
    m.d.sync += inside.eq(inside + coming - given)
    h.claim("nothing is given that did not come", ~given | (inside != 0))
    lane = h.any(max(1, log_lanes), "lane")
    chosen = h.let("chosen", taken & ~used & h.any(1, "choose") & (mine >> lane)[0])
    want = Signal.like(entry)
    with m.If(chosen):
        m.d.sync += [used.eq(1), live.eq(1), want.list.eq(beat.list)]
        m.d.sync += ahead.eq(inside - given + sum(mine[k] & (lane > k) for k in range(lanes)))
        m.d.sync += want.index.eq(Array(beat.ids[k] for k in range(lanes))[lane] >> log_channels)
        m.d.sync += want.position.eq(Cat(lane[:log_lanes], beat.word))
    with m.Elif(live & given):
        m.d.sync += [ahead.eq(ahead - 1), live.eq(ahead != 0)]
        with m.If(ahead == 0):
            same = (entry.list == want.list) & (entry.index == want.index) & (entry.position == want.position)
            h.claim("each id is given once, in order, to its class, with its position and list", same)
    with m.If(live):
        h.claim("the list is busy while one of its ids is inside", (dut.busy >> want.list)[0])
    waits = Signal(range(4 * lanes))
    m.d.sync += waits.eq(Mux(live, waits + 1, 0))
    h.claim("an id is inside for at most 2 lanes + 2 cycles", waits <= 2 * lanes + 2)
    h.cover("an id waits for others of its class", live & given & (ahead != 0))
    return h


PROOFS = tuple(
    Proof(
        name=f"id_spread_{name}",
        block="IdSpread",
        configuration=f"`{name}`",
        build=lambda name=name: id_spread(PRESETS[name]),
        method=method,
        bugs=(Bug("hdl.fetch.id_list", "self.chosen.eq(mine & (~mine + 1))", "self.chosen.eq(mine)"),),
        reach=8,
    )
    for name, method in (("tiny", Pdr()), ("ulx3s", Pdr()), ("paper", Bounded(4)))
)
