"""PageAllocator: no page twice, none beyond the last."""

from amaranth.hdl import Cat, Mux, Signal

from formal.harness import Harness
from formal.methods import Induction
from formal.proof import Proof
from formal.seeds import Bug
from hdl.control.regions.page_allocator import PageAllocator

__all__ = ["PROOFS"]

_MODULE = "hdl.control.regions.page_allocator"
_BUGS = (
    Bug(_MODULE, "m.d.sync += [starts.eq(starts & (starts >> step))", "m.d.sync += [starts.eq(starts)"),
    Bug(_MODULE, "last.eq(release.page + release.count)", "last.eq(release.page + release.count + 1)"),
)


def allocator(pages: int) -> Harness:
    h = Harness()
    m, inside = h.m, h.open(PageAllocator(pages))
    dut = inside.block
    wanted = dut.request.payload.count
    requested, granted = h.source(dut.request, "request"), h.sink(dut.grant, "grant")
    h.free(dut.release.valid, dut.release.payload)
    h.assume(~dut.request.valid | ((wanted >= 1) & (wanted <= pages)))
    # What the user holds.
    owned, count = Signal(pages), Signal(range(pages + 1))
    page, release = dut.grant.payload.page, dut.release.payload
    run = h.let("run", span(pages, page, page + count))
    back = h.let("back", Mux(dut.release.valid, span(pages, release.page, release.page + release.count), 0))
    fits = (release.count >= 1) & (release.page + release.count <= pages)
    h.assume(~dut.release.valid | (fits & ((back & ~owned) == 0)))
    with m.If(requested):
        m.d.sync += count.eq(wanted)
    m.d.sync += owned.eq((owned | Mux(granted, run, 0)) & ~back)
    with m.If(dut.grant.valid):
        h.claim("no page is granted that is in use", (run & owned) == 0)
        h.claim("a run does not go beyond the last page", page + count <= pages)
    held = sum(owned[k] for k in range(pages)) + Mux(dut.grant.valid, count, 0)
    h.claim("free is the number of pages neither granted nor found", dut.free + held == pages)
    lemmas(h, inside, owned, count, run)
    h.cover("a run of two pages is granted after another", granted & (count > 1) & inside("preferred").any())
    return h


def span(pages: int, first, end):
    return Cat((first <= k) & (end > k) for k in range(pages))


def lemmas(h: Harness, inside, owned, count, run) -> None:
    dut, pages = inside.block, inside.block.pages
    granted, page = dut.grant.valid, dut.grant.payload.page
    empty, held, given, releases = (inside(name) for name in ("empty", "count", "given", "releases"))
    names = ("searching", "complete", "starts", "favored", "length", "left", "step")
    searching, complete, starts, favored, length, left, step = (inside(name, "search") for name in names)
    taken = span(pages, page, page + held)
    released = h.let("released", Mux(releases, span(pages, inside("first"), inside("last")), 0))
    becomes = h.let("becomes", (empty | released) & ~Mux(given, taken, 0))
    h.lemma(becomes == ~(owned | Mux(granted, run, 0)))
    h.lemma(~given | granted)
    h.lemma(~searching | (~given & ~granted))
    h.lemma((~searching & ~granted) | (held == count))
    h.lemma(~(searching | granted) | ((held >= 1) & (held <= pages)))
    h.lemma(~given | ((released & taken) == 0))
    reached = h.let("reached", Mux(complete, held, length))  # pages that are known to be free from each start on
    with h.m.If(searching):
        h.lemma((favored & ~starts) == 0)
        h.lemma(complete | (length + left == held))
        h.lemma(complete | ((left >= 1) & (length >= 1) & (length <= pages)))
        h.lemma(complete | (step == Mux(left < length, left, length)))
        for k in range(pages):
            h.lemma(~starts[k] | (k + reached <= pages))
            for t in range(k, pages):
                h.lemma(~(starts[k] & (t < k + reached)) | empty[t])


PROOFS = tuple(
    Proof(
        name=f"page_allocator_{pages}",
        block="PageAllocator",
        configuration=f"{pages} pages",
        build=lambda pages=pages: allocator(pages),
        method=Induction(),
        bugs=_BUGS,
        reach=10,
    )
    for pages in (4, 8)
)
