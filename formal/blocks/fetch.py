"""ChannelFetcher and RowWalker: responses are taken at once, and what cannot wait finds room."""

from amaranth.hdl import Signal

from formal.blocks.stream_queue import queue_lemmas
from formal.harness import Harness
from formal.methods import Induction
from formal.proof import Proof
from formal.seeds import Bug
from hdl.fetch.channel_fetcher import ChannelFetcher
from hdl.fetch.row_walker import RowWalker
from hdl.spec.config import PRESETS, Config

__all__ = ["PROOFS"]


def channel_fetcher(config: Config) -> Harness:
    h = Harness()
    m, inside = h.m, h.open(ChannelFetcher(config))
    dut = inside.block
    issuer, words, slices = (inside.part(name) for name in ("issuer", "words", "slices"))
    skid, credit = issuer.part("skid"), issuer.part("credit")
    assembler, converter = inside("assembler"), inside("converter")
    h.free(*dut.table)
    for name in ("query", "lsb", "gather", "bulk"):
        h.source(getattr(dut, name), name)
    h.free(dut.o.ready, dut.memory.request.ready)
    # A memory: any word for each request, after any time.
    request, response = dut.memory.request, dut.memory.response
    flight = Signal(range(2 * config.outstanding + 4))
    h.free(response.payload)
    m.d.comb += response.valid.eq(h.any(1, "answers") & (flight != 0))
    m.d.sync += flight.eq(flight + (request.valid & request.ready) - (response.valid & response.ready))
    h.claim("a response is taken in its first cycle", ~response.valid | response.ready)
    h.claim("at most outstanding words are in flight", flight <= config.outstanding)
    left = credit("count")
    queue_lemmas(h, words)
    h.lemma(credit.block.allowed == (left != 0))
    h.lemma(left + skid("full") + flight + words.block.level == config.outstanding)
    # Slices from the ring on: those in the registers of assembler and converter, and those in the queue.
    queue_lemmas(h, slices)
    count, room = inside("count", "limit"), inside("room", "limit")
    fired, unpacked = Signal(), Signal()
    m.d.sync += [fired.eq(assembler.fired), unpacked.eq(assembler.o.valid)]
    h.lemma(count == fired + assembler.o.valid + unpacked + converter.o.valid + slices.block.level)
    h.lemma((room == (count != dut.num_slices)) & (count <= dut.num_slices))
    h.claim("a slice finds room after the ring", ~slices.block.i.valid | slices.block.i.ready)
    h.cover("a response comes back", response.valid & (flight > 2))
    return h


def row_walker(config: Config, *, lsb: bool) -> Harness:
    h = Harness()
    inside = h.open(RowWalker(config, channel=0, lsb=lsb))
    dut, rows = inside.block, inside.part("rows")
    h.free(*dut.table, dut.start.valid, dut.start.payload, dut.list_count, dut.read.ready, dut.index, dut.position)
    h.free(dut.o.ready)
    queue_lemmas(h, rows)
    h.claim("a row finds room in the queue", ~rows.block.i.valid | rows.block.i.ready)
    h.cover("the queue is nearly full", rows.block.level >= RowWalker.DEPTH - 2)
    return h


PROOFS = (
    *(
        Proof(
            name=f"channel_fetcher_{name}",
            block="ChannelFetcher",
            configuration=f"`{name}`",
            build=lambda name=name: channel_fetcher(PRESETS[name]),
            method=Induction(4),
            bugs=(Bug("hdl.fetch.row_issuer", "(self.asked & (count == 1))", "(self.asked & (count == 0))"),),
            reach=40,
        )
        for name in ("tiny", "ulx3s")
    ),
    *(
        Proof(
            name=f"row_walker_{name}{'_lsb' if lsb else ''}",
            block="RowWalker",
            configuration=f"`{name}`, {'K LSB' if lsb else 'K and V'}",
            build=lambda name=name, lsb=lsb: row_walker(PRESETS[name], lsb=lsb),
            method=Induction(6),
            bugs=(Bug("hdl.fetch.row_walker", "rows.level <= self.DEPTH - 4", "rows.level <= self.DEPTH - 3"),),
            reach=24,
        )
        for name, lsb in (("tiny", False), ("tiny", True), ("ulx3s", False))
    ),
)
