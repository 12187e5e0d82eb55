"""The registers as a page of docs/: one sentence a line."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from hdl.spec.register_map import Field, Group, Kind, Register, RegisterMap

__all__ = ["markdown"]

COLUMNS = 100

ACCESS = {
    Kind.STORED: "read, write",
    Kind.VALUE: "read",
    Kind.CONSTANT: "read, constant",
    Kind.PULSE: "write 1",
    Kind.STICKY: "read, write 1 to clear",
}

COUNTS = {
    "address": "of them as many as an address has, for the whole 64 bits",
    "limit": "of them one more than an address has, for the whole 64 bits",
    "queues": "one for each queue",
}
"""What a configuration says about the bits of a field."""

HEAD = """\
# Registers

<!-- Made from hdl/spec/registers.rdl by `make registers`; do not edit. -->

{text}

The C header is `driver/spatten_regs.h`, the same for Python `driver/spatten_regs.py`, and IP-XACT
`driver/spatten_regs.xml`.
All are made from `hdl/spec/registers.rdl`, and so is `hdl/spec/registers.json`, of which the RTL is
built (`hdl/axi/register_bank.py`).
The source is SystemRDL 2.0, so that other tools read it, too.
The hardware's side is on the page [register_bank.md](register_bank.md), the AXI4 managers on
[axi.md](axi.md).
"""


def markdown(registers: RegisterMap) -> str:
    """Text of ``docs/registers.md``."""
    lines = [HEAD.format(text=_prose(registers.text)), "## Overview", "", "| Offset | Register | |", "|---|---|---|"]
    lines += [_row(register) for register in registers.registers]
    for group in registers.groups:
        last = f"0x{group.offset + (group.count - 1) * group.stride:04x}"
        lines.append(
            f"| 0x{group.offset:04x} … {last} | [{group.name.upper()}[i]](#{_anchor(_heading(group))}) | "
            f"{group.title}; every {group.stride} bytes |"
        )
    for register in registers.registers:
        lines += ["", *_register(register, "", f"offset 0x{register.offset:03x}")]
    for group in registers.groups:
        lines += ["", *_group(group)]
    return "\n".join(lines) + "\n"


def _row(register: Register) -> str:
    name = register.name.upper()
    return f"| 0x{register.offset:04x} | [{name}](#{_anchor(name)}) | {register.title} |"


def _heading(group: Group) -> str:
    return f"{group.name.upper()}[i]"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _prose(text: str) -> str:
    """A line for each sentence, two or more if it is long."""
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z])", text)
    return "\n".join(textwrap.fill(sentence, COLUMNS, break_on_hyphens=False) for sentence in sentences)


def _register(register: Register, prefix: str, place: str) -> Iterator[str]:
    yield f"{'###' if prefix else '##'} {prefix}{register.name.upper()}"
    yield ""
    reset = f", after reset 0x{register.reset:08x}" if any(f.kind == Kind.STORED for f in register.fields) else ""
    yield f"*{register.title}*, {place}{reset}."
    if register.text:
        yield _prose(register.text)
    yield from ["", "| Bits | Field | Access | Reset | |", "|---|---|---|---|---|"]
    for field in sorted(register.fields, key=lambda field: -field.lsb):
        yield _field(field)
    for field in register.fields:
        if field.choices:
            yield from ["", f"| {field.name.upper()} | | |", "|---|---|---|"]
            yield from (f"| {choice.value} | `{choice.name}` | {choice.text} |" for choice in field.choices)


def _field(field: Field) -> str:
    top = field.lsb + field.width - 1
    bits = f"{top}:{field.lsb}" if top > field.lsb else f"{top}"
    reset = f"0x{field.reset:x}" if field.kind in (Kind.STORED, Kind.STICKY, Kind.CONSTANT) else ""
    text = f"{field.text[:-1]}; {COUNTS[field.bits_of]}." if field.bits_of else field.text
    return f"| {bits} | {field.name.upper()} | {ACCESS[field.kind]} | {reset} | {text} |"


def _group(group: Group) -> Iterator[str]:
    yield f"## {_heading(group)}"
    yield ""
    yield f"*{group.title}* i, offset 0x{group.offset:04x} + i · 0x{group.stride:x}, at most {group.count}."
    if group.text:
        yield _prose(group.text)
    if group.names:
        yield from ["", "| i | Name |", "|---|---|"]
        yield from (f"| {index} | `{name}` |" for index, name in enumerate(group.names))
    for register in group.registers:
        yield ""
        yield from _register(register, f"{_heading(group)}.", f"offset 0x{register.offset:02x} in the element")
