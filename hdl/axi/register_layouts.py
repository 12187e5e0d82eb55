"""The hardware's side of a register map: structures of the fields of a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Cat, Const
from amaranth.lib import data

from hdl.spec.register_map import DATA_WIDTH, Kind, Place, Register, RegisterMap

__all__ = ["address_of", "any_of", "at", "clear_layout", "field_layout", "reset_values", "written_layout"]


def field_layout(registers: RegisterMap, kind: Kind) -> data.StructLayout:
    """Register -> field -> its bits, for all fields of a kind; of a group, the elements are an array.

    ``ctrl.enable`` and ``queue[1].size.commands`` are its parts. Registers without such fields are left out, and so are
    fields of which the configuration has no bit; :func:`address_of` joins the halves of an address.
    """

    def fields(register: Register) -> data.StructLayout:
        return data.StructLayout({field.name: field.width for field in register.fields_of(kind)})

    return _layout(registers, fields)


def clear_layout(registers: RegisterMap) -> data.StructLayout:
    """As :func:`field_layout`, a bit for each field that hardware can hold at its reset value."""

    def fields(register: Register) -> data.StructLayout:
        return data.StructLayout({field.name: 1 for field in register.fields if field.hardware_clears})

    return _layout(registers, fields)


def written_layout(registers: RegisterMap) -> data.StructLayout:
    """As :func:`field_layout`, a bit for each register whose writes hardware sees."""

    def fields(register: Register) -> data.StructLayout:
        return data.StructLayout({"any": 1} if register.strobe else {})

    return _layout(registers, fields)


def reset_values(registers: RegisterMap) -> dict[str, Any]:
    """Initial value of ``field_layout(registers, Kind.STORED)``."""

    def values(items: tuple[Register, ...]) -> dict[str, dict[str, int]]:
        found = {
            register.name: {field.name: field.reset for field in register.fields_of(Kind.STORED)} for register in items
        }
        return {name: fields for name, fields in found.items() if fields}

    init: dict[str, Any] = values(registers.registers)
    for group in registers.groups:
        if not group.external and (parts := values(group.registers)):
            init[group.name] = [parts] * group.count
    return init


def at(view: Any, place: Place) -> Any:
    """The part of a structure of these layouts that belongs to the register of a place."""
    if place.group is not None:
        view = view[place.group.name][place.index]
    return view[place.register.name]


def address_of(view: Any, name: str) -> Any:
    """The address (or limit) that the registers ``<name>_lo`` and ``<name>_hi`` of a structure make.

    Its bits are those of the configuration: ``address_bits``, or one more of a limit of less than 64.
    """
    low = view[f"{name}_lo"].address
    high = [view[f"{name}_hi"].address] if f"{name}_hi" in view.shape().members else []
    return Cat(Const(0, DATA_WIDTH - len(low)), low, *high)


def any_of(words: list) -> Any:
    """Or of all, as a tree."""
    if len(words) == 1:
        return words[0]
    half = len(words) // 2
    return any_of(words[:half]) | any_of(words[half:])


def _layout(registers: RegisterMap, fields: Callable[[Register], data.StructLayout]) -> data.StructLayout:
    def struct(items: tuple[Register, ...]) -> dict[str, data.Layout]:
        return {register.name: layout for register in items if (layout := fields(register)).members}

    members = struct(registers.registers)
    for group in registers.groups:
        if not group.external and (parts := struct(group.registers)):
            members[group.name] = data.ArrayLayout(data.StructLayout(parts), group.count)
    return data.StructLayout(members)
