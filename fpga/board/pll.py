"""Clocks from the PLL of the Lattice ECP5."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

from amaranth.hdl import Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Ecp5Pll", "PllOutput", "PllSettings", "pll_settings"]

PFD_HZ = (3_125_000, 400_000_000)
"""Frequencies of the phase detector, the input after its divider."""
VCO_HZ = (400_000_000, 800_000_000)
INPUT_HZ = (8_000_000, 400_000_000)
OUTPUT_HZ = (3_125_000, 400_000_000)
MAX_DIVIDER = 128
FINE_STEPS = 8
"""Phases of the oscillator that an output can start at."""
TOLERANCE = Fraction(1, 100)

_OUTPUTS = ("CLKOS", "CLKOS2", "CLKOS3")
_FIXED = {
    "a": {"ICP_CURRENT": "12", "LPF_RESISTOR": "8", "MFG_ENABLE_FILTEROPAMP": "1", "MFG_GMCREF_SEL": "2"},
    "p": {
        "FEEDBK_PATH": "CLKOP",
        "OUTDIVIDER_MUXA": "DIVA",
        "CLKOP_ENABLE": "ENABLED",
        "CLKOP_FPHASE": 0,
        "PLLRST_ENA": "DISABLED",
        "INTFB_WAKE": "DISABLED",
        "STDBY_ENABLE": "DISABLED",
        "DPHASE_SOURCE": "DISABLED",
    },
    # No reset, stand-by, or change of a phase at run time.
    "i": {
        "RST": Const(0),
        "STDBY": Const(0),
        "PHASESEL0": Const(0),
        "PHASESEL1": Const(0),
        "PHASEDIR": Const(1),
        "PHASESTEP": Const(1),
        "PHASELOADREG": Const(1),
        "PLLWAKESYNC": Const(0),
        "ENCLKOP": Const(0),
    },
}
"""Attributes, parameters and inputs of the PLL that are always the same."""


@dataclasses.dataclass(frozen=True)
class PllOutput:
    hz: int
    """Rounded to whole hertz."""
    divider: int
    coarse: int
    """Delay in periods of the oscillator."""
    fine: int
    """and in eighths of one."""

    @property
    def degrees(self) -> float:
        """By how much the output lags behind one of phase 0."""
        return 360 * (self.coarse + self.fine / FINE_STEPS) / self.divider


@dataclasses.dataclass(frozen=True)
class PllSettings:
    """Dividers: oscillator = input / input_divider * feedback_divider * loop_divider.

    The loop has an output of its own (CLKOP), so that the other outputs may be any part of the oscillator.
    """

    input_divider: int
    feedback_divider: int
    loop_divider: int
    vco_hz: int
    outputs: tuple[PllOutput, ...]


def _check(name: str, hz: float, limits: tuple[int, int]) -> None:
    if not limits[0] <= hz <= limits[1]:
        low, high = (f"{limit / 1e6:g}" for limit in limits)
        raise ValueError(f"{name} must be from {low} to {high} MHz, not {hz / 1e6:g}")


def _split(factor: int, pfd: Fraction) -> tuple[int, int] | None:
    """Feedback and loop divider whose product is ``factor``, the loop's output within its limits."""
    for feedback in range(1, MAX_DIVIDER + 1):
        if factor % feedback == 0 and factor // feedback <= MAX_DIVIDER and pfd * feedback <= OUTPUT_HZ[1]:
            return feedback, factor // feedback
    return None


def _oscillators(input_hz: int):
    """Every (oscillator, input divider, (feedback and loop divider)) that the limits allow."""
    for divider in range(1, MAX_DIVIDER + 1):
        pfd = Fraction(input_hz, divider)
        if PFD_HZ[0] <= pfd <= PFD_HZ[1]:
            for factor in range(-(-VCO_HZ[0] // pfd), VCO_HZ[1] // pfd + 1):
                if split := _split(factor, pfd):
                    yield pfd * factor, divider, split


def _output(vco: Fraction, hz: int, degrees: float) -> PllOutput:
    divider = min(max(1, round(vco / hz)), MAX_DIVIDER)
    steps = round(degrees % 360 / 360 * divider * FINE_STEPS) % (divider * FINE_STEPS)
    return PllOutput(round(vco / divider), divider, *divmod(steps, FINE_STEPS))


def pll_settings(input_hz: int, outputs: Sequence[tuple[int, float]]) -> PllSettings:
    """Dividers for ``outputs`` (frequency in Hz, phase in degrees), as near as they come; ValueError if that is more
    than 1 % off. Of equal ones, the fastest phase detector (least jitter), then the best phases, is taken."""
    _check("input frequency", input_hz, INPUT_HZ)
    if not 1 <= len(outputs) <= len(_OUTPUTS):
        raise ValueError(f"outputs must be 1 to {len(_OUTPUTS)}, not {len(outputs)}")
    for hz, _ in outputs:
        _check("output frequency", hz, OUTPUT_HZ)

    def cost(oscillator):
        vco, divider, _ = oscillator
        made = [_output(vco, hz, degrees) for hz, degrees in outputs]
        off = max(abs(vco / out.divider / hz - 1) for out, (hz, _) in zip(made, outputs, strict=True))
        if any(
            out.divider - 1 + out.coarse >= MAX_DIVIDER for out in made
        ):  # the phase's field is as wide as the divider's
            off = Fraction(1)
        turns = [abs(out.degrees - degrees % 360) for out, (_, degrees) in zip(made, outputs, strict=True)]
        return off, divider, max(min(turn, 360 - turn) for turn in turns), abs(vco - 600_000_000)

    best = min(_oscillators(input_hz), key=cost)
    vco, input_divider, (feedback, loop) = best
    made = tuple(_output(vco, hz, degrees) for hz, degrees in outputs)
    if cost(best)[0] > TOLERANCE:
        wanted = ", ".join(f"{hz / 1e6:g}" for hz, _ in outputs)
        nearest = ", ".join(f"{out.hz / 1e6:.3f}" for out in made)
        raise ValueError(
            f"output frequency must be one that the PLL makes of {input_hz / 1e6:g} MHz, within 1 %; "
            f"nearest to {wanted} MHz: {nearest}"
        )
    return PllSettings(input_divider, feedback, loop, round(vco), made)


class Ecp5Pll(wiring.Component):
    """The PLL; its outputs are constrained to their frequencies.

    Members
    -------
    i : In(1)                            clock pin
    o : Out(1).array(len(outputs))       clocks, in the order of the settings
    locked : Out(1)                      they run; asynchronous
    """

    def __init__(self, settings: PllSettings):
        self.settings = settings
        super().__init__({"i": In(1), "o": Out(1).array(len(settings.outputs)), "locked": Out(1)})

    def elaborate(self, platform):
        m = Module()
        for clock, output in zip(self.o, self.settings.outputs, strict=True):
            platform.add_clock_constraint(clock, output.hz)
        m.submodules.pll = self._instance()
        return m

    def _instance(self):
        settings, loop = self.settings, Signal(name="loop")
        return Instance(
            "EHXPLLL",
            *((kind, name, value) for kind, pins in _FIXED.items() for name, value in pins.items()),
            p_CLKI_DIV=settings.input_divider,
            p_CLKFB_DIV=settings.feedback_divider,
            p_CLKOP_DIV=settings.loop_divider,
            p_CLKOP_CPHASE=settings.loop_divider - 1,
            i_CLKI=self.i,
            i_CLKFB=loop,
            o_CLKOP=loop,
            o_LOCK=self.locked,
            **self._outputs(),
        )

    def _outputs(self):
        """Parameters and pins of the outputs."""
        ports = {}
        for letter, name, output, clock in zip("BCD", _OUTPUTS, self.settings.outputs, self.o, strict=False):
            ports |= {
                f"p_OUTDIVIDER_MUX{letter}": f"DIV{letter}",
                f"p_{name}_ENABLE": "ENABLED",
                f"p_{name}_DIV": output.divider,
                # Output dividers start in the last state of a period.
                f"p_{name}_CPHASE": output.divider - 1 + output.coarse,
                f"p_{name}_FPHASE": output.fine,
                f"o_{name}": clock,
            }
        return ports
