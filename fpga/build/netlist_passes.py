"""What a netlist of ECP5 cells (Yosys' JSON) is spared before nextpnr reads it.

Flip-flops around multipliers become the registers that the multipliers have inside: Yosys leaves the registers of
operands and product of a MULT18X18D in the fabric, each bit with a wire to the multiplier.

Operands narrower than the inputs of a multiplier lie at their upper end, with zeros below: Yosys puts them at the lower
end, and a copy of the sign at every input above.

Constant address bits of LUT RAMs repeat another bit: nextpnr takes a constant over wires, from one place to all over
the chip, five for each bit.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from functools import partial
from itertools import takewhile
from typing import Any

__all__ = ["align_operands", "pack_registers", "share_addresses", "simplify"]

_OPERANDS = {"A": "INPUTA", "B": "INPUTB"}
_OPERAND_BITS, _PRODUCT_BITS = 18, 36
_INPUT_ENABLE, _OUTPUT_ENABLE = "CE0", "CE1"

Cell = dict[str, Any]
Bit = int | str


class _Module:
    """A flat module of a netlist: who drives and who uses each bit."""

    def __init__(self, module: dict[str, Any]):
        self.cells: dict[str, Cell] = module["cells"]
        self.driver: dict[Bit, str] = {}
        self.users: dict[Bit, list[tuple[str, str]]] = defaultdict(list)
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                for bit in bits:
                    if cell["port_directions"][port] == "output":
                        self.driver[bit] = name
                    else:
                        self.users[bit].append((name, port))
        for port in module["ports"].values():
            for bit in port["bits"]:
                self.users[bit].append(("", ""))

    def flop(self, name: str | None) -> Cell | None:
        """The cell, if it is a flip-flop that a multiplier's register can be: no reset, enable not inverted."""
        cell = self.cells.get(name or "", {})
        given = {key: value.strip() for key, value in cell.get("parameters", {}).items()}
        plain = (
            cell.get("type") == "TRELLIS_FF"
            and cell["connections"].get("LSR", ["0"]) == ["0"]
            and given.get("CLKMUX", "CLK") == "CLK"
            and given.get("CEMUX", "1") in ("1", "CE")
            and given.get("GSR") == "DISABLED"
        )
        return cell if plain else None


def _control(flop: Cell) -> tuple[Bit, Bit]:
    """Clock and enable of a flip-flop."""
    enabled = flop["parameters"].get("CEMUX", "1").strip() == "CE"
    return flop["connections"]["CLK"][0], flop["connections"]["CE"][0] if enabled else "1"


def _operand(module: _Module, name: str, letter: str) -> dict[int, str] | None:
    """Flip-flop of each bit of an operand that is not constant; None if a bit has another source, or none has one."""
    flops: dict[int, str] = {}
    for index in range(_OPERAND_BITS):
        (bit,) = module.cells[name]["connections"].get(f"{letter}{index}") or ["0"]
        if bit == "1":
            return None  # a register would begin with another value
        if not isinstance(bit, str):
            source = module.driver.get(bit)
            if not source or not module.flop(source):
                return None
            flops[index] = source
    return flops or None


def _product(module: _Module, name: str) -> dict[int, str] | None:
    """Flip-flop of each bit of the product that is used; None if one goes elsewhere."""
    flops: dict[int, str] = {}
    for index in range(_PRODUCT_BITS):
        for bit in module.cells[name]["connections"].get(f"P{index}", []):
            users = module.users.get(bit, [])
            if not users:
                continue
            if len(users) > 1 or users[0][1] != "DI" or not module.flop(users[0][0]):
                return None
            flops[index] = users[0][0]
    return flops or None


def _same_control(module: _Module, flops: list[str]) -> bool:
    return len({_control(module.cells[flop]) for flop in flops}) == 1


def _choose(module: _Module) -> dict[str, dict[str, dict[int, str]]]:
    """Multipliers whose operands both have registers, and whose product has: letter -> bit -> flip-flop.

    All or nothing: the timing of nextpnr knows multipliers with all registers or with none. A flip-flop is moved only
    if it has no other users than operands that are moved.
    """
    chosen = {}
    for name, cell in module.cells.items():
        if cell["type"] != "MULT18X18D" or cell["parameters"]:
            continue
        parts = {letter: _operand(module, name, letter) for letter in _OPERANDS}
        parts["P"] = _product(module, name)
        found = {letter: flops for letter, flops in parts.items() if flops}
        inputs = [flop for letter in _OPERANDS for flop in found.get(letter, {}).values()]
        clocks = {_control(module.cells[flop])[0] for flops in found.values() for flop in flops.values()}
        if (
            len(found) == len(parts)
            and _same_control(module, inputs)
            and _same_control(module, list(found["P"].values()))
            and len(clocks) == 1
        ):
            chosen[name] = found
    while True:
        kept = {name: parts for name, parts in chosen.items() if _alone(module, parts, chosen)}
        if len(kept) == len(chosen):
            return kept
        chosen = kept


def _alone(module: _Module, parts: dict[str, dict[int, str]], chosen: dict[str, Any]) -> bool:
    for letter in _OPERANDS:
        for flop in parts[letter].values():
            (q,) = module.cells[flop]["connections"]["Q"]
            if any(user not in chosen or port[0] not in _OPERANDS for user, port in module.users[q]):
                return False
    return True


def pack_registers(module: dict[str, Any]) -> int:
    """Move registers into the multipliers of a flat module of Yosys' JSON; the number of flip-flops that are gone."""
    found = _Module(module)
    moved: set[str] = set()
    for name, parts in _choose(found).items():
        cell = found.cells[name]
        connections, directions = cell["connections"], cell["port_directions"]

        def connect(port: str, bit: Bit, connections=connections, directions=directions) -> None:
            connections[port], directions[port] = [bit], "input"

        for letter, register in _OPERANDS.items():
            for index, flop in parts[letter].items():
                connections[f"{letter}{index}"] = list(found.cells[flop]["connections"]["DI"])
            cell["parameters"] |= {f"REG_{register}_CLK": "CLK0", f"REG_{register}_CE": _INPUT_ENABLE}
        for index, flop in parts["P"].items():
            connections[f"P{index}"] = list(found.cells[flop]["connections"]["Q"])
        cell["parameters"] |= {"REG_OUTPUT_CLK": "CLK0", "REG_OUTPUT_CE": _OUTPUT_ENABLE}
        clock, enable = _control(found.cells[next(iter(parts["A"].values()))])
        connect("CLK0", clock)
        connect(_INPUT_ENABLE, enable)
        connect(_OUTPUT_ENABLE, _control(found.cells[next(iter(parts["P"].values()))])[1])
        connect("RST0", "0")
        moved |= {flop for flops in parts.values() for flop in flops.values()}
    for flop in moved:
        del module["cells"][flop]
    return len(moved)


def align_operands(module: dict[str, Any]) -> int:
    """Move signed operands to the upper end of their multipliers' inputs, where they were extended; the number of
    inputs that are 0 instead of a copy of the sign.

    The product moves with them. A 0 takes no wire.
    """
    found, count = _Module(module), 0
    for cell in module["cells"].values():
        if cell["type"] != "MULT18X18D":
            continue
        pins = cell["connections"]
        shifts = {}
        for letter in _OPERANDS:
            bits = [(pins.get(f"{letter}{index}") or ["0"])[0] for index in range(_OPERAND_BITS)]
            signed = pins.get(f"SIGNED{letter}") == ["1"] and not isinstance(bits[-1], str)
            copies = list(takewhile(partial(operator.eq, bits[-1]), reversed(bits)))
            shifts[letter] = len(copies) - 1 if signed else 0
        shift = sum(shifts.values())
        above = [bit for index in range(_PRODUCT_BITS - shift, _PRODUCT_BITS) for bit in pins.get(f"P{index}", [])]
        if not shift or any(found.users.get(bit) for bit in above):
            continue
        for letter, places in shifts.items():
            _move(cell, letter, _OPERAND_BITS, places, "0")
        _move(cell, "P", _PRODUCT_BITS, shift, None)
        count += shift
    return count


def _move(cell: Cell, letter: str, width: int, places: int, fill: Bit | None) -> None:
    """Connections of a vector's pins, ``places`` up; ``fill``, or nothing, at the pins below."""
    pins, directions = cell["connections"], cell["port_directions"]
    names = [f"{letter}{index}" for index in range(width)]
    direction = next(directions[name] for name in names if name in directions)
    moved = [None if fill is None else [fill]] * places + [pins.get(name) for name in names[: width - places]]
    for name, bits in zip(names, moved, strict=True):
        if bits:
            pins[name], directions[name] = bits, direction
        else:
            pins.pop(name, None)
            directions.pop(name, None)


def share_addresses(module: dict[str, Any]) -> int:
    """Let address bits of LUT RAMs that are constant 0 repeat bit 0 of the address, of the write port as of the read
    port; the number of such bits.

    A memory of up to eight words lies elsewhere in its sixteen then.
    """
    count = 0
    for cell in module["cells"].values():
        if cell["type"] != "TRELLIS_DPR16X4":
            continue
        write, read = cell["connections"]["WAD"], cell["connections"]["RAD"]
        constant = [bit for bit in range(1, 4) if write[bit] == read[bit] == "0"]
        if not constant:
            continue
        for bit in constant:
            write[bit], read[bit] = write[0], read[0]
        init = cell["parameters"]["INITVAL"]
        words = [init[len(init) - 4 * address - 4 : len(init) - 4 * address] for address in range(16)]
        moved = ["xxxx"] * 16
        for address in range(16):
            if not any(address >> bit & 1 for bit in constant):
                moved[address | sum((address & 1) << bit for bit in constant)] = words[address]
        cell["parameters"]["INITVAL"] = "".join(reversed(moved))
        count += len(constant)
    return count


def simplify(module: dict[str, Any]) -> int:
    """All of the above on a flat module; the number of flip-flops that are gone."""
    count = pack_registers(module)
    align_operands(module)
    share_addresses(module)
    return count
