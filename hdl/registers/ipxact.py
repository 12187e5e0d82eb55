"""The registers as IP-XACT (IEEE 1685-2014): a component with a memory map."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from hdl.spec.register_map import ADDRESS_WIDTH, DATA_WIDTH, Field, Group, Kind, Register, RegisterMap
from hdl.spec.version import VERSION

__all__ = ["ipxact"]

NAMESPACE = "http://www.accellera.org/XMLSchema/IPXACT/1685-2014"
ACCESS = {
    Kind.STORED: "read-write",
    Kind.VALUE: "read-only",
    Kind.CONSTANT: "read-only",
    Kind.PULSE: "write-only",
    Kind.STICKY: "read-write",
}
"""A field of a register that has others, too, keeps its own."""


def ipxact(registers: RegisterMap) -> str:
    """Text of ``spatten_regs.xml``."""
    ET.register_namespace("ipxact", NAMESPACE)
    component = ET.Element(_tag("component"))
    version = VERSION
    for name, value in (("vendor", "spatten"), ("library", "ip"), ("name", registers.name), ("version", version)):
        _text(component, name, value)
    memory_map = _child(_child(component, "memoryMaps"), "memoryMap")
    _text(memory_map, "name", "s_axil")
    block = _child(memory_map, "addressBlock")
    _head(block, "registers", registers.title, registers.text)
    for name, value in (
        ("baseAddress", "0x0"),
        ("range", f"0x{1 << ADDRESS_WIDTH:x}"),
        ("width", str(DATA_WIDTH)),
        ("usage", "register"),
    ):
        _text(block, name, value)
    for register in registers.registers:
        _register(block, register)
    for group in registers.groups:
        _group(block, group)
    _text(memory_map, "addressUnitBits", "8")
    ET.indent(component, " ")
    comment = "<!-- Made from hdl/spec/registers.rdl by `make registers`; do not edit. -->"
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n{comment}\n<!-- SPDX-License-Identifier: Apache-2.0 -->\n'
    return head + ET.tostring(component, encoding="unicode") + "\n"


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _child(parent: ET.Element, name: str) -> ET.Element:
    return ET.SubElement(parent, _tag(name))


def _text(parent: ET.Element, name: str, text: str) -> None:
    _child(parent, name).text = text


def _head(parent: ET.Element, name: str, title: str, text: str) -> None:
    _text(parent, "name", name)
    if title:
        _text(parent, "displayName", title)
    if text:
        _text(parent, "description", text)


def _register(parent: ET.Element, register: Register) -> None:
    element = _child(parent, "register")
    _head(element, register.name, register.title, register.text)
    _text(element, "addressOffset", f"0x{register.offset:x}")
    _text(element, "size", str(DATA_WIDTH))
    _text(element, "volatile", str(any(field.kind != Kind.CONSTANT for field in register.fields)).lower())
    access = (register.readable, register.writable)
    _text(element, "access", {(True, True): "read-write", (True, False): "read-only"}.get(access, "write-only"))
    for field in register.fields:
        _field(element, field)


def _field(parent: ET.Element, field: Field) -> None:
    element = _child(parent, "field")
    _head(element, field.name, "", field.text)
    _text(element, "bitOffset", str(field.lsb))
    if field.kind in (Kind.STORED, Kind.STICKY, Kind.CONSTANT):
        _text(_child(_child(element, "resets"), "reset"), "value", f"0x{field.reset:x}")
    _text(element, "bitWidth", str(field.width))
    _text(element, "volatile", str(field.kind in (Kind.VALUE, Kind.STICKY)).lower())
    _text(element, "access", ACCESS[field.kind])
    if field.choices:
        values = _child(element, "enumeratedValues")
        for choice in field.choices:
            value = _child(values, "enumeratedValue")
            _head(value, choice.name, "", choice.text)
            _text(value, "value", str(choice.value))
    if field.kind == Kind.STICKY:
        _text(element, "modifiedWriteValue", "oneToClear")


def _group(parent: ET.Element, group: Group) -> None:
    element = _child(parent, "registerFile")
    _head(element, group.name, group.title, group.text)
    _text(element, "dim", str(group.count))
    _text(element, "addressOffset", f"0x{group.offset:x}")
    _text(element, "range", f"0x{group.stride:x}")
    for register in group.registers:
        _register(element, register)
