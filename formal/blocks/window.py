"""The window of memory: planes that are admitted lie in it, and rows are read from their planes only."""

from amaranth.hdl import Mux, Signal, Value

from formal.blocks.arithmetic import later
from formal.blocks.stream_queue import queue_lemmas
from formal.harness import Harness, width_of
from formal.methods import Induction
from formal.proof import Proof
from formal.seeds import Bug
from hdl.control.checker.plane_check import PlaneCheck
from hdl.fetch.fetch_layouts import load_info, log_units, num_loads, unit_bits, units_per_word
from hdl.fetch.row_issuer import RowIssuer
from hdl.spec.config import PRESETS, Config
from hdl.system.queue_windows import QueueWindows

__all__ = ["PROOFS"]


def _steady(h: Harness, port, name: str) -> None:
    """Any value, the same for ever."""
    value = Value.cast(port)
    h.m.d.comb += value.eq(h.any(len(value), name, constant=True))


def _one_of(value, choices):
    return sum((value == choice for choice in choices), start=0) != 0


def plane_check(config: Config, planes: tuple[str, str]) -> Harness:
    """A job that is right otherwise, whose planes are checked again and again, as close as they may come."""
    h = Harness()
    m, dut = h.m, h.block(PlaneCheck(config, planes))
    job = dut.job
    for port, name in ((job, "job"), (dut.rows, "rows"), (dut.window_base, "first"), (dut.window_limit, "beyond")):
        _steady(h, port, name)
    h.assume(dut.window_limit <= 1 << config.address_width)
    h.assume(_one_of(job.dim, config.dims))
    widths = sorted({*config.plane_widths, *(width for split in config.splits for width in split)} - {0})
    pulse, before = h.any(1, "begins"), Signal()
    m.d.sync += before.eq(pulse)
    h.assume(~(pulse & before))
    m.d.comb += [dut.load.eq(pulse | before << 1)]
    m.d.comb += dut.place.eq(later(h, "place", pulse | before << 1, 2))
    for index, name in enumerate(planes):
        rows, bits = (dut.rows if name == "query" else job.num_rows), job[f"{name}_bits"]
        h.assume((rows <= config.max_tokens) & _one_of(bits, widths))
        both = (job.pair != 0) if name == "key" else 0
        words = Signal(config.address_width + 1, name=f"{name}_words")
        for dim in config.dims:
            for width in widths:
                for heads in (1, 2) if name == "key" else (1,):
                    with m.If((job.dim == dim) & (bits == width) & (both == heads - 1)):
                        m.d.comb += words.eq(_plane_words(config, rows, heads * dim * width))
        base = job[f"{name}_base"]
        inside = (base >= dut.window_base) & (base + words <= dut.window_limit)
        asked = later(h, f"asked_{name}", pulse, 3 + index)
        h.claim("a plane fits if, and only if, all its words lie in the window", ~asked | (dut.fits == inside))
    h.cover("a plane fits, one does not", dut.fits & later(h, "both", pulse, 3) & ~later(h, "was", dut.fits, 1))
    return h


def _plane_words(config: Config, rows, row_bits: int):
    """As ConfigSizes.plane_words."""
    own = (rows + config.num_channels - 1) >> (config.num_channels - 1).bit_length()
    return (own * row_bits + config.channel_width - 1) >> (config.channel_width - 1).bit_length()


def queue_windows(config: Config) -> Harness:
    h = Harness()
    inside = h.open(QueueWindows(config))
    dut = inside.block
    h.free(dut.wanted, dut.working, *dut.queue, *dut.base)
    for count, _ in inside("words", "_channel_states"):
        h.lemma(count <= 1 << config.address_width)
    for window in (*dut.channel, dut.all):
        h.claim("no window ends after the last word of a channel", window.limit <= 1 << config.address_width)
    for window in dut.channel:
        h.claim("the window of a channel does not end before it begins", window.base <= window.limit)
    h.cover("a window of all channels", dut.ready & (dut.all.limit > dut.all.base))
    return h


def _plane_of(h: Harness, config: Config, dut: RowIssuer):
    """One load, whichever the solver picks, with a plane of so many rows in the channel; others may be anything.

    Returns its name, what the table says of it, its rows, units and words.
    """
    load, info = h.any(width_of(dut.load), "chosen", constant=True), Signal(load_info(config), name="its")
    _steady(h, info, "its_info")
    for index in range(num_loads(config)):
        other = h.any(width_of(info), f"info_{index}")
        h.m.d.comb += Value.cast(dut.table[index]).eq(Mux(load == index, Value.cast(info), other))
    rows = h.any(width_of(dut.i.payload.index) + 1, "rows", constant=True)
    units = h.let("units", rows * info.row_units)
    words = h.let("words", (units + units_per_word(config) - 1) >> log_units(config))
    h.assume((info.row_units >= 1) & (info.row_units <= config.row_bits_max // unit_bits(config)))
    h.assume(info.base + words <= 1 << config.address_width)
    return load, info, rows, units, words


def row_issuer(config: Config) -> Harness:
    h = Harness()
    m, inside = h.m, h.open(RowIssuer(config))
    dut, i = inside.block, inside.block.i.payload
    locator, located = inside.part("locator"), inside.part("located")
    load, info, rows, units, words = _plane_of(h, config, dut)
    h.source(dut.i, "i")
    h.free(dut.request.ready, dut.row.ready, dut.returned)
    h.assume(~dut.i.valid | i.end | (i.load != load) | (i.index < rows))

    def mine(row):
        return ~row.end & (row.load == load)

    first, second, product = locator("first"), locator("second"), locator("product")
    with m.If(locator("first_valid") & mine(first.row)):
        h.lemma(first.row.index < rows)
        h.lemma((first.row_units == info.row_units) & (first.base == info.base))
    with m.If(locator("valid") & mine(second.row)):
        h.lemma(product + info.row_units <= units)
        h.lemma((second.row_units == info.row_units) & (second.base == info.base))
    queue_lemmas(h, located)
    # The queue gives what it took (proved of StreamQueue): here it may give anything of which this holds.
    for port, say in ((located.block.i, h.lemma), (located.block.o, h.assume)):
        row = port.payload
        say(~port.valid | ~mine(row) | ((row.first >= info.base) & (row.first - info.base + row.extra < words)))
    address, left = inside("address", "issue"), inside("left", "issue")
    h.lemma(inside("none", "issue") == (left == 0))
    h.lemma(inside("one", "issue") == (left == 1))
    with m.If((left != 0) & (dut.load == load)):
        h.lemma((address >= info.base) & (address - info.base + left <= words))
    with m.If(dut.asked & (dut.load == load)):
        h.claim("a word that is asked for lies in the plane of its load", address >= info.base)
        h.claim("a word that is asked for lies in the plane of its load", address - info.base < words)
    last = dut.asked & (dut.load == load) & (address + 1 == info.base + words)
    h.cover("the last word of a plane is asked for", last)
    return h


_LIMIT = Bug("hdl.control.checker.plane_check", "(base >= self.window_base) & (beyond >= 0)", "(beyond >= 0)")
_ROUNDED = Bug("hdl.control.checker.plane_check", "(row_bits + config.channel_width - 1)", "row_bits")

PROOFS = (
    *(
        Proof(
            name=f"plane_check_{name}_{planes[0]}",
            block="PlaneCheck",
            configuration=f"`{name}`, {planes[0]} and {planes[1]}",
            build=lambda name=name, planes=planes: plane_check(PRESETS[name], planes),
            method=Induction(5),
            bugs=(_LIMIT, _ROUNDED),
            reach=8,
        )
        for name, planes in (("tiny", ("key", "query")), ("tiny", ("key_lsb", "value")))
    ),
    *(
        Proof(
            name=f"queue_windows_{name}",
            block="QueueWindows",
            configuration=f"`{name}`",
            build=lambda name=name: queue_windows(PRESETS[name]),
            method=Induction(1),
            bugs=(Bug("hdl.system.queue_windows", "Mux(beyond, most, over[", "Mux(beyond, most + 1, over["),),
            reach=4 * PRESETS[name].num_channels + 8,
        )
        for name in ("tiny",)
    ),
    *(
        Proof(
            name=f"row_issuer_{name}",
            block="RowIssuer",
            configuration=f"`{name}`",
            build=lambda name=name: row_issuer(PRESETS[name]),
            method=Induction(1),
            bugs=(Bug("hdl.fetch.row_issuer", "left.eq(row.extra + 1 - row.reuse)", "left.eq(row.extra + 1)"),),
            reach=14,
        )
        for name in ("tiny",)
    ),
)
