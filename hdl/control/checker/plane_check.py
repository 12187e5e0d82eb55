"""Checks that planes lie in the window of memory that jobs may read."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.config_rules import RANGES
from hdl.spec.widths import DIM_WIDTH, ELEMENT_BITS_WIDTH, FIELD_WIDTH, bits_for_count

__all__ = ["PlaneCheck"]

_UNIT = 16
"""Dimensions are multiples of it."""
_LOG_UNIT = 4


class PlaneCheck(wiring.Component):
    """Whether two planes of a job, one after the other, lie in the window whole, in every channel.

    The operands of plane i are taken with ``load[i]``; two cycles later, with ``place[i]``, the room from its base to
    the window's end; in the cycle after that ``fits`` compares it with the plane's words, which are
    :meth:`hdl.spec.config_sizes.ConfigSizes.plane_words`. A plane every cycle. ``fits`` is undefined for fields that
    are refused anyway.

    planes: names of the two, ``query`` only as the second: its rows are a product, which comes a cycle later.

    Members
    -------
    job : In(job_descriptor(config))    steady from ``load`` to ``fits``
    rows : In(n)                        of Q
    window_base : In(address_width)     first word that may be read, in every channel
    window_limit : In(address_width + 1)    first word beyond the window
    load, place : In(2)                 one bit a plane
    fits : Out(1)
    """

    LATENCY = 3

    def __init__(self, config: Config, planes: tuple[str, str]):
        self.config, self.planes = config, planes
        self._units = sorted({size // _UNIT for dim in config.dims for size in (dim, 2 * dim)})  # of a row
        self._widths = sorted({*config.plane_widths, *(width for split in config.splits for width in split)} - {0})
        words = config.plane_words(config.max_tokens, self._units[-1] * _UNIT, self._widths[-1])
        self._word_bits = bits_for_count(words)  # of a plane in a channel
        super().__init__(
            {
                "job": In(payloads.job_descriptor(config)),
                "rows": In(FIELD_WIDTH),
                "window_base": In(config.address_width),
                "window_limit": In(config.address_width + 1),
                "load": In(2),
                "place": In(2),
                "fits": Out(1),
            }
        )

    def elaborate(self, platform):
        """The plane's place in the window is compared before its words are known: only they are left to compare,
        and only as many bits as a plane that nothing else is wrong with can have."""
        m = Module()
        job = self.job
        inside, wide = Signal(reset_less=True), Signal(reset_less=True)
        room = Signal(self._word_bits, reset_less=True)
        width = Signal(ELEMENT_BITS_WIDTH, reset_less=True)
        rows = Signal(FIELD_WIDTH, reset_less=True)
        units = Signal(DIM_WIDTH - _LOG_UNIT + 1, reset_less=True)
        for index, name in enumerate(self.planes):
            with m.If(self.load[index]):
                m.d.sync += [
                    width.eq(job[f"{name}_bits"]),
                    rows.eq(self.rows if name == "query" else job.num_rows),
                    # Rows of K of a pair are of both heads.
                    units.eq(job.dim[_LOG_UNIT:] << (job.pair != 0) if name == "key" else job.dim[_LOG_UNIT:]),
                ]
            with m.If(self.place[index]):
                base = job[f"{name}_base"]
                beyond = self.window_limit - base
                m.d.sync += [
                    inside.eq((base >= self.window_base) & (beyond >= 0)),
                    wide.eq(beyond[self._word_bits : -1].any()),
                    room.eq(beyond),
                ]
        m.d.comb += self.fits.eq(inside & (wide | (self._words(m, rows, width, units) <= room)))
        return m

    def _words(self, m: Module, rows: Value, width: Value, units: Value) -> Signal:
        """Words that a plane takes in every channel, two cycles after its operands."""
        config = self.config
        most = bits_for_count(RANGES["max_tokens"][1])  # more rows are refused
        channel_bits = (config.num_channels - 1).bit_length()
        word_bits = (config.channel_width - 1).bit_length()
        bits = Signal(most + ELEMENT_BITS_WIDTH, reset_less=True)
        factor = Signal.like(units, reset_less=True)
        words = Signal(self._word_bits, reset_less=True)
        channel_rows = (rows + config.num_channels - 1) >> channel_bits
        row_bits = _multiple(bits, factor, self._units) << _LOG_UNIT
        m.d.sync += [
            bits.eq(_multiple(channel_rows[:most], width, self._widths)),
            factor.eq(units),
            words.eq((row_bits + config.channel_width - 1) >> word_bits),
        ]
        return words


def _multiple(value: Value, factor: Value, factors: list[int]) -> Value:
    """value * factor, a known one (else the job is refused): most are two powers of two, so one addition."""
    highest, rest = Const(0), Const(0)
    for known in factors:
        top = known.bit_length() - 1
        others = [value << i for i in range(top) if known >> i & 1]
        highest = highest | Mux(factor == known, value << top, 0)
        rest = rest | Mux(factor == known, sum(others, start=Const(0)), 0)
    return highest + rest
