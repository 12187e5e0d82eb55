"""Boards: their pins, clocks and memories, and the top of a design for one of them."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module
from amaranth.lib import io
from amaranth.lib.cdc import AsyncFFSynchronizer
from amaranth_boards.ecpix5 import ECPIX585Platform
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from fpga.board.pll import Ecp5Pll, PllSettings, pll_settings
from fpga.board.system import System
from fpga.spec.sdram_pins import WORD_WIDTHS, capacity
from fpga.spec.sdram_timing import SdramTiming, clock_phase
from fpga.spec.settings import SystemSettings
from hdl.spec.config import Config

__all__ = ["BOARDS", "Board", "BoardError", "BoardTop", "find_board"]


class BoardError(ValueError):
    """A board, or a choice for one, that is not there; one line."""


BLOCK_BITS = 512 * 1024
"""Block RAM for the memory "block": 32 blocks of an LFE5U-85F's 208."""


def block_words(config: Config) -> int:
    """Words of each channel in block RAM."""
    words = BLOCK_BITS // (config.num_channels * config.channel_width)
    return 1 << max(1, words.bit_length() - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Board:
    name: str
    title: str
    platform: Any
    """Class of amaranth-boards."""
    programmer: str
    """Name of the board for openFPGALoader -b."""
    preset: str
    """Default, one that routes."""
    clock_hz: int
    """Default."""
    leds: tuple[tuple[str, int, str | None], ...]
    """Resource, number and part of the LEDs idle, busy and error."""
    sdram: bool = False

    @property
    def device(self) -> str:
        return self.platform.device

    @property
    def input_hz(self) -> int:
        """Frequency of the clock pin."""
        return round(self.platform().default_clk_frequency)

    @property
    def memories(self) -> tuple[str, ...]:
        return ("block", "sdram") if self.sdram else ("block",)

    def pll(self, clock_hz: int, *, sdram: bool) -> PllSettings:
        """System clock, and for an SDRAM its clock, which lags."""
        try:
            if sdram:
                SdramTiming().cycles(clock_hz)  # says if the clock is too fast
            outputs = [(clock_hz, 0.0), (clock_hz, clock_phase(clock_hz))]
            return pll_settings(self.input_hz, outputs if sdram else outputs[:1])
        except ValueError as error:
            raise BoardError(f"freq: {error}") from None

    def settings(
        self, config: Config, *, memory: str | None = None, clock_hz: int | None = None, baud: int = 1_000_000
    ) -> SystemSettings:
        """A design's settings; by default with the SDRAM, if there is one that serves the core."""
        served = config.num_channels == 1 and config.channel_width in WORD_WIDTHS
        if memory is None:
            memory = "sdram" if self.sdram and served else "block"
        if memory not in self.memories:
            raise BoardError(f"memory must be {' or '.join(self.memories)} on the board {self.name}, not {memory!r}")
        if memory == "sdram" and not served:
            raise BoardError(
                f"memory must be block for the preset {config.name}: the SDRAM is one channel of "
                f"{', '.join(map(str, WORD_WIDTHS))} bits, not {config.num_channels} of {config.channel_width}"
            )
        size = capacity(config.channel_width) if memory == "sdram" else block_words(config)
        pll = self.pll(clock_hz or self.clock_hz, sdram=memory == "sdram")
        try:
            return SystemSettings(
                core=config,
                clock_hz=pll.outputs[0].hz,
                baud=baud,
                memory=memory,
                memory_words=min(1 << config.address_width, size),
            )
        except ValueError as error:
            raise BoardError(str(error)) from None


_RGB_LEDS = (("rgb_led", 0, "g"), ("rgb_led", 1, "b"), ("rgb_led", 2, "r"))
_LEDS = (("led", 0, None), ("led", 1, None), ("led", 2, None))

BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board(
            name="ulx3s-85f",
            title="Radiona ULX3S, LFE5U-85F",
            platform=ULX3S_85F_Platform,
            programmer="ulx3s",
            preset="ulx3s",
            clock_hz=90_000_000,
            leds=_LEDS,
            sdram=True,
        ),
        Board(
            name="ecpix5-85f",
            title="LambdaConcept ECPIX-5, LFE5UM5G-85F",
            platform=ECPIX585Platform,
            programmer="ecpix5",
            preset="ulx3s-d32",
            clock_hz=50_000_000,
            leds=_RGB_LEDS,
        ),
    )
}


def find_board(name: str) -> Board:
    """The board of that name."""
    if name not in BOARDS:
        near = difflib.get_close_matches(name, BOARDS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise BoardError(f"board must be one of {', '.join(BOARDS)}, not {name!r}{hint}")
    return BOARDS[name]


class BoardTop(Elaboratable):
    """The top of a design: :class:`fpga.board.system.System` with the board's clock, pins and LEDs.

    Reset lasts from the configuration of the FPGA until the PLL is locked.
    """

    def __init__(self, board: Board, settings: SystemSettings):
        self.board = board
        self.settings = settings

    def elaborate(self, platform):
        m = Module()
        sdram = self.settings.memory == "sdram"
        locked = self._make_clocks(m, platform, ("sync", "sdram") if sdram else ("sync",))
        m.submodules.system = system = System(self.settings)
        m.submodules.reset = AsyncFFSynchronizer(~locked, system.reset)
        self._connect_uart(m, platform, system)
        self._connect_leds(m, platform, system)
        if sdram:
            self._connect_sdram(m, platform, system.sdram)
        return m

    def _make_clocks(self, m, platform, domains):
        """The domains, whose flip-flops begin as the FPGA's configuration says; returns the PLL's lock."""
        pll = self.board.pll(self.settings.clock_hz, sdram=len(domains) > 1)
        m.submodules.clock_pin = clock_pin = io.Buffer("i", platform.request(platform.default_clk, dir="-"))
        m.submodules.pll = generator = Ecp5Pll(pll)
        m.d.comb += generator.i.eq(clock_pin.i)
        for domain, clock in zip(domains, generator.o, strict=True):
            m.domains += ClockDomain(domain, reset_less=True)
            m.d.comb += ClockSignal(domain).eq(clock)
        return generator.locked

    def _connect_uart(self, m, platform, system):
        uart = platform.request("uart", dir="-")
        m.submodules.rx_pin = rx_pin = io.Buffer("i", uart.rx)
        m.submodules.tx_pin = tx_pin = io.Buffer("o", uart.tx)
        m.d.comb += [system.rx.eq(rx_pin.i), tx_pin.o.eq(system.tx)]

    def _connect_leds(self, m, platform, system):
        resources = {(name, number): platform.request(name, number, dir="-") for name, number, _ in self.board.leds}
        for (name, number, part), signal in zip(self.board.leds, ("idle", "busy", "error"), strict=True):
            port = resources[name, number]
            m.submodules[f"{signal}_pin"] = pin = io.Buffer("o", port if part is None else getattr(port, part))
            m.d.comb += pin.o.eq(getattr(system, signal))

    def _connect_sdram(self, m, platform, pins):
        """Every pin has its register at the pad, so that all have the same delay; the clock's is a DDR register, for
        the same reason."""
        ports = platform.request("sdram", dir="-")
        m.submodules.sdram_clock_pin = clk = io.DDRBuffer("o", ports.clk, o_domain="sdram")
        m.d.comb += [clk.o[0].eq(1), clk.o[1].eq(0)]
        outputs = {
            "clk_en": pins.cke,
            # Ports of pins that are active low invert.
            "cs": ~pins.cs_n,
            "ras": ~pins.ras_n,
            "cas": ~pins.cas_n,
            "we": ~pins.we_n,
            "ba": pins.ba,
            "a": pins.a,
            "dqm": pins.dqm,
        }
        for name, value in outputs.items():
            m.submodules[f"sdram_{name}_pin"] = pin = io.FFBuffer("o", getattr(ports, name))
            m.d.comb += pin.o.eq(value)
        m.submodules.sdram_dq_pin = dq = io.FFBuffer("io", ports.dq)
        m.d.comb += [dq.o.eq(pins.dq_o), dq.oe.eq(pins.dq_oe), pins.dq_i.eq(dq.i)]
