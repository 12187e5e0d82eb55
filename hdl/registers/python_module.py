"""The registers as a Python module that imports nothing: for a host that has no more than Python."""

from __future__ import annotations

from collections.abc import Iterator

from hdl.spec.register_map import Register, RegisterMap

__all__ = ["python_module"]

HEAD = '''\
"""{title}: offsets, and fields as (shift, mask of the value).

Generated from hdl/spec/registers.rdl by `make registers`; do not edit.
SPDX-License-Identifier: Apache-2.0
"""

'''

TAIL = '''

def offset(register, index=None):
    """Bytes from the beginning of the map, as of offset("CTRL") and offset("QUEUE_SIZE", 1)."""
    if register in OFFSETS:
        return OFFSETS[register]
    first, stride, most = ARRAYS[register]
    if index is None or not 0 <= index < most:
        raise ValueError(f"index of {register} must be from 0 to {most - 1}, not {index!r}")
    return first + stride * index


def get(register, field, word):
    """Value of a field in a word that was read."""
    shift, mask = FIELDS[register][field]
    return word >> shift & mask


def put(register, **values):
    """Word with these fields, the others 0."""
    word = 0
    for field, value in values.items():
        shift, mask = FIELDS[register][field]
        if value & ~mask:
            raise ValueError(f"{register}.{field} must be from 0 to {mask}, not {value!r}")
        word |= value << shift
    return word
'''


def python_module(registers: RegisterMap) -> str:
    """Text of ``spatten_regs.py``."""
    lines = ["OFFSETS = {"]
    lines += [f'    "{register.name.upper()}": 0x{register.offset:04X},' for register in registers.registers]
    lines += ["}", "", "# (offset of element 0, stride, most elements)", "ARRAYS = {"]
    everything = [("", register) for register in registers.registers]
    for group in registers.groups:
        everything += [(f"{group.name}_", register) for register in group.registers]
        lines += [
            f'    "{group.name}_{register.name}": '.upper()
            + f"(0x{group.offset + register.offset:04X}, 0x{group.stride:X}, {group.count}),"
            for register in group.registers
        ]
    lines += ["}", "", "FIELDS = {"]
    for prefix, register in everything:
        lines += _fields(prefix, register)
    lines += ["}", "", *_choices(everything), "", *_names(registers)]
    return HEAD.format(title=registers.title) + "\n".join(lines) + "\n" + TAIL


def _fields(prefix: str, register: Register) -> Iterator[str]:
    yield f'    "{prefix.upper()}{register.name.upper()}": {{'
    for field in register.fields:
        yield f'        "{field.name}": ({field.lsb}, 0x{(1 << field.width) - 1:X}),'
    yield "    },"


def _choices(everything: list[tuple[str, Register]]) -> Iterator[str]:
    """Values that have a name, of fields."""
    yield "CHOICES = {"
    for prefix, register in everything:
        for field in register.fields:
            if field.choices:
                yield f'    ("{prefix.upper()}{register.name.upper()}", "{field.name}"): {{'
                yield from (f'        "{choice.name}": {choice.value},' for choice in field.choices)
                yield "    },"
    yield "}"


def _names(registers: RegisterMap) -> Iterator[str]:
    """Elements of arrays that have a name."""
    yield "NAMES = {"
    for group in registers.groups:
        if group.names:
            yield f'    "{group.name.upper()}": {{'
            yield from (f'        "{name}": {index},' for index, name in enumerate(group.names))
            yield "    },"
    yield "}"
