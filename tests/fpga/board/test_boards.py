import dataclasses
import re

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga.board.boards import BOARDS, BoardError, BoardTop, block_words, find_board
from fpga.spec.sdram_pins import SdramPins
from fpga.spec.sdram_timing import clock_phase
from hdl.spec.config import PRESETS
from tests.fpga.board.test_system import SMALL

TINY, LARGE = PRESETS["tiny"], PRESETS["ulx3s"]
EVERY = [(name, memory) for name, board in BOARDS.items() for memory in board.memories]


class Pins(wiring.Component):
    """Stands for the system: a register behind every input and before every output."""

    def __init__(self, settings):
        members = {"reset": In(1), "rx": In(1), "tx": Out(1), "idle": Out(1), "busy": Out(1), "error": Out(1)}
        if settings.memory == "sdram":
            members["sdram"] = Out(SdramPins())
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        count = Signal(16)
        m.d.sync += count.eq(count + 1)
        m.d.comb += [self.tx.eq(self.rx), self.idle.eq(count[1]), self.busy.eq(count[2]), self.error.eq(count[3])]
        if hasattr(self, "sdram"):
            pins = self.sdram
            m.d.sync += [getattr(pins, name).eq(count) for name in pins.signature.members if name != "dq_i"]
            m.d.sync += pins.dq_o.eq(pins.dq_i)
        return m


def files(board, settings):
    plan = board.platform().prepare(BoardTop(board, settings), "top", emit_src=False)
    return plan.files["top.il"], plan.files["top.lpf"]


@pytest.mark.parametrize(("name", "memory"), EVERY)
def test_pins_and_clocks(name, memory, monkeypatch):
    monkeypatch.setattr("fpga.board.boards.System", Pins)
    board = BOARDS[name]
    settings = board.settings(LARGE if memory == "sdram" else TINY, memory=memory)
    netlist, constraints = files(board, settings)
    clocks = re.findall(r'FREQUENCY NET "(\S+)" (\S+) HZ', constraints)
    assert [float(hz) for _, hz in clocks] == [settings.clock_hz] * (2 if memory == "sdram" else 1)
    assert f"{board.input_hz:.1f} HZ" in constraints
    located = re.findall(r'LOCATE COMP "(\S+?)(?:\[\d+\])?" SITE', constraints)
    # Clock, serial line, LEDs; 5 control, 2 bank, 13 address, 2 mask, 16 data and the SDRAM's clock.
    assert len(located) == 1 + 2 + 3 + (39 if memory == "sdram" else 0)
    assert {"uart_0__rx__io", "uart_0__tx__io"} <= set(located)
    registers = len(re.findall(r"cell \\[OI]FS1P3DX ", netlist))
    # Of each pin its value and its tristate, of data its input, too; of the clock the tristate.
    assert registers == (22 * 2 + 16 * 3 + 1 if memory == "sdram" else 0)
    assert len(re.findall(r"cell \\ODDRX1F ", netlist)) == (memory == "sdram")
    assert len(re.findall(r"cell \\EHXPLLL ", netlist)) == 1


def test_real_system():
    """The real system at its pins; the core is as small as it gets."""
    board = BOARDS["ulx3s-85f"]
    netlist, _ = files(board, board.settings(SMALL))
    assert "module \\top.system.core" in netlist


def test_default_memory():
    ulx3s, ecpix5 = BOARDS["ulx3s-85f"], BOARDS["ecpix5-85f"]
    settings = ulx3s.settings(LARGE)
    assert (settings.memory, settings.memory_words * 8) == ("sdram", 32 << 20)
    assert ulx3s.settings(TINY).memory == "block"  # two channels
    settings = ecpix5.settings(TINY, clock_hz=75_000_000, baud=500_000)
    assert (settings.memory, settings.clock_hz, settings.baud) == ("block", 75_000_000, 500_000)


def test_block_memory_is_a_power_of_two():
    assert (block_words(TINY), block_words(LARGE)) == (4096, 8192)
    assert block_words(dataclasses.replace(TINY, num_channels=16, channel_width=256)) == 128
    assert BOARDS["ulx3s-85f"].settings(SMALL, memory="block").memory_words == 256  # all that can be addressed


def test_sdram_clock_lags():
    pll = BOARDS["ulx3s-85f"].pll(90_000_000, sdram=True)
    assert pll.outputs[0].degrees == 0
    assert pll.outputs[1].degrees == pytest.approx(clock_phase(90_000_000), abs=360 / pll.outputs[1].divider / 16)


@pytest.mark.parametrize(
    ("board", "options", "message"),
    [
        ("ulx3s-85f", {"config": TINY, "memory": "sdram"}, "memory must be block for the preset tiny: .*, not 2 of 64"),
        ("ulx3s-85f", {"config": TINY, "memory": "dram"}, "memory must be block or sdram on the board ulx3s-85f, not"),
        ("ecpix5-85f", {"config": LARGE, "memory": "sdram"}, "memory must be block on the board ecpix5-85f, not 'sdra"),
        ("ulx3s-85f", {"config": LARGE, "clock_hz": 200_000_000}, "freq: clock_hz must be from 1 to 142857142 for an"),
        ("ulx3s-85f", {"config": TINY, "clock_hz": 1_000}, "freq: output frequency must be from 3.125 to 400 MHz"),
        ("ulx3s-85f", {"config": TINY, "baud": 50_000_000}, "baud must be from 1374 to 22500000, not 50000000"),
    ],
)
def test_errors(board, options, message):
    with pytest.raises(BoardError, match=message):
        find_board(board).settings(**options)


def test_unknown_board():
    with pytest.raises(BoardError, match=r"board must be one of ulx3s-85f, .*, not 'ulx3s'; did you mean ulx3s-85f\?"):
        find_board("ulx3s")
    with pytest.raises(BoardError, match=r"board must be one of .*, not 'q'$"):
        find_board("q")
