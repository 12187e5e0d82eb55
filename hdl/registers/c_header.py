"""The registers as a header for C99 and C++17."""

from __future__ import annotations

from collections.abc import Iterator

from hdl.spec.register_map import Field, Group, Kind, Register, RegisterMap

__all__ = ["c_header"]

PREFIX = "SPATTEN"

HEAD = """\
/* {title}: offsets, masks, shifts, reset values, and a structure of each group.
 *
 * Generated from hdl/spec/registers.rdl by `make registers`; do not edit.
 * SPDX-License-Identifier: Apache-2.0
 *
 * _OFFSET: bytes from the beginning of the map, of an array by the index of an element. _MASK: in the register.
 * SPATTEN_GET(word, FIELD) takes a field out of a word, SPATTEN_SET(FIELD, value) puts one into a word of 0.
 */
#ifndef SPATTEN_REGS_H
#define SPATTEN_REGS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define SPATTEN_ASSERT(name, condition) static_assert(condition, #name)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define SPATTEN_ASSERT(name, condition) _Static_assert(condition, #name)
#else
#define SPATTEN_ASSERT(name, condition) typedef char spatten_assert_##name[(condition) ? 1 : -1]
#endif

#define SPATTEN_GET(word, field) (((uint32_t)(word) & SPATTEN_##field##_MASK) >> SPATTEN_##field##_SHIFT)
#define SPATTEN_SET(field, value) (((uint32_t)(value) << SPATTEN_##field##_SHIFT) & SPATTEN_##field##_MASK)
"""


def c_header(registers: RegisterMap) -> str:
    """Text of ``spatten_regs.h``."""
    lines = [HEAD.format(title=registers.title)]
    for register in registers.registers:
        lines += [*_register(register, ""), ""]
    for group in registers.groups:
        lines += [*_group(group), ""]
    lines += [*_structures(registers), "", "#endif", ""]
    return "\n".join(lines)


def _define(name: str, value: str) -> str:
    return f"#define {PREFIX}_{name} {value}"


def _hex(value: int) -> str:
    return f"UINT32_C(0x{value:X})"


def _register(register: Register, group: str) -> Iterator[str]:
    name = f"{group}{register.name}".upper()
    yield f"/* {register.title} */"
    if not group:
        yield _define(f"{name}_OFFSET", _hex(register.offset))
    if any(field.kind in (Kind.STORED, Kind.CONSTANT) for field in register.fields):
        yield _define(f"{name}_RESET", _hex(register.reset))
    for field in register.fields:
        yield from _field(field, f"{name}_{field.name.upper()}")


def _field(field: Field, name: str) -> Iterator[str]:
    yield _define(f"{name}_MASK", _hex(field.mask))
    yield _define(f"{name}_SHIFT", str(field.lsb))
    for choice in field.choices:
        yield _define(f"{name}_{choice.name.upper()}", _hex(choice.value))


def _group(group: Group) -> Iterator[str]:
    name = group.name.upper()
    yield f"/* {group.title}: element i of at most {PREFIX}_{name}_MOST */"
    yield _define(f"{name}_MOST", str(group.count))
    for register in group.registers:
        first, stride = _hex(group.offset + register.offset), _hex(group.stride)
        yield _define(f"{name}_{register.name.upper()}_OFFSET(i)", f"({first} + {stride} * (uint32_t)(i))")
    for index, element in enumerate(group.names):
        yield _define(f"{name}_{element.upper()}", str(index))
    for register in group.registers:
        yield from _register(register, f"{group.name}_")


def _structures(registers: RegisterMap) -> Iterator[str]:
    """A structure for the registers of no group and for each group's element, and what must hold of them."""
    yield from _structure("global", registers.registers, _end(registers.registers))
    for group in registers.groups:
        yield ""
        yield from _structure(group.name, group.registers, min(group.stride, _end(group.registers)))
        yield f"SPATTEN_ASSERT(stride_of_{group.name}, sizeof(struct spatten_{group.name}) <= {group.stride});"


def _end(items: tuple[Register, ...]) -> int:
    return max(register.offset for register in items) + 4


def _structure(name: str, items: tuple[Register, ...], size: int) -> Iterator[str]:
    yield f"struct spatten_{name} {{"
    at = gaps = 0
    for register in sorted(items, key=lambda register: register.offset):
        if register.offset > at:
            yield f"    uint32_t reserved{gaps}[{(register.offset - at) // 4}];"
            gaps += 1
        yield f"    volatile {'' if register.writable else 'const '}uint32_t {register.name};"
        at = register.offset + 4
    yield "};"
    for register in items:
        yield (
            f"SPATTEN_ASSERT(at_{name}_{register.name}, offsetof(struct spatten_{name}, {register.name}) == "
            f"{register.offset});"
        )
    yield f"SPATTEN_ASSERT(sizeof_{name}, sizeof(struct spatten_{name}) == {size});"
