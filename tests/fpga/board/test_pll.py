import re

import pytest
from amaranth.back import rtlil

from fpga.board.pll import FINE_STEPS, PFD_HZ, VCO_HZ, Ecp5Pll, pll_settings

MHZ = 1_000_000


@pytest.mark.parametrize("source", [12, 25, 48, 50, 100])
@pytest.mark.parametrize("hz", [10 * MHZ, 33_333_333, 75 * MHZ, 90 * MHZ, 97_300_000, 133 * MHZ, 200 * MHZ])
@pytest.mark.parametrize("degrees", [0, 90, 225])
def test_dividers_give_the_frequency(source, hz, degrees):
    made = pll_settings(source * MHZ, [(hz, 0), (hz, degrees)])
    detector = source * MHZ / made.input_divider
    vco = detector * made.feedback_divider * made.loop_divider
    assert PFD_HZ[0] <= detector <= PFD_HZ[1]
    assert VCO_HZ[0] <= vco <= VCO_HZ[1] and abs(made.vco_hz - vco) <= 1
    assert PFD_HZ[0] <= vco / made.loop_divider <= PFD_HZ[1]  # the loop is an output, too
    for output, phase in zip(made.outputs, (0, degrees), strict=True):
        assert abs(output.hz - vco / output.divider) <= 1
        assert abs(output.hz / hz - 1) <= 0.01
        assert abs(output.degrees - phase) <= 360 / output.divider / FINE_STEPS / 2
        assert 1 <= output.divider <= 128 and output.divider - 1 + output.coarse < 128


def test_numbers_of_ecppll():
    """``ecppll -i 25 --clkout0 100 --clkout1 100 --phase1 90``: VCO 600 MHz, divider 6, one and a half VCO periods."""
    made = pll_settings(25 * MHZ, [(100 * MHZ, 0), (100 * MHZ, 90)])
    assert (made.vco_hz, made.outputs[1].divider) == (600 * MHZ, 6)
    assert (made.outputs[1].coarse, made.outputs[1].fine) == (1, 4)


@pytest.mark.parametrize("hz", [25 * MHZ, 75 * MHZ, 90 * MHZ, 100 * MHZ])
def test_boards_clocks_are_exact(hz):
    assert pll_settings(25 * MHZ, [(hz, 0)]).outputs[0].hz == hz


@pytest.mark.parametrize(
    ("source", "outputs", "message"),
    [
        (1 * MHZ, [(90 * MHZ, 0)], "input frequency must be from 8 to 400 MHz, not 1"),
        (25 * MHZ, [(900 * MHZ, 0)], "output frequency must be from 3.125 to 400 MHz, not 900"),
        (25 * MHZ, [(1 * MHZ, 0)], "output frequency must be from 3.125 to 400 MHz, not 1"),
        (25 * MHZ, [], "outputs must be 1 to 3, not 0"),
        (25 * MHZ, [(90 * MHZ, 0)] * 4, "outputs must be 1 to 3, not 4"),
        (
            25 * MHZ,
            [(390 * MHZ, 0), (310 * MHZ, 0)],
            r"one that the PLL makes of 25 MHz, within 1 %; nearest to 390, 310 MHz: ",
        ),
    ],
)
def test_errors(source, outputs, message):
    with pytest.raises(ValueError, match=message):
        pll_settings(source, outputs)


class _Platform:
    def __init__(self):
        self.constraints = {}

    def add_clock_constraint(self, clock, hz):
        self.constraints[clock.name] = hz


def test_instance():
    platform = _Platform()
    pll = Ecp5Pll(pll_settings(25 * MHZ, [(90 * MHZ, 0), (90 * MHZ, 216)]))
    text = rtlil.convert(pll, platform=platform, emit_src=False)
    assert list(platform.constraints.values()) == [90 * MHZ, 90 * MHZ]
    parameters = {
        "CLKI_DIV": 1,
        "CLKFB_DIV": 1,
        "CLKOP_DIV": 18,
        "CLKOS_DIV": 5,
        "CLKOS_CPHASE": 4,
        "CLKOS2_DIV": 5,
        "CLKOS2_CPHASE": 7,
        "CLKOS2_FPHASE": 0,
    }
    for name, value in parameters.items():
        assert re.search(rf"parameter( signed)? \\{name} {value}\n", text), name
