"""Commands, plans, tables and completions as a header for C99 and C++17."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator

from amaranth.lib import data

from hdl.registers.explained import comments, docstrings
from hdl.spec import formats, payloads

__all__ = ["RECORDS", "Member", "c_formats", "members"]

RECORDS: dict[str, Callable[[], data.StructLayout]] = {
    "command": formats.layer_command,
    "append": formats.append_command,
    "append_constant": formats.append_constant,
    "plan": formats.plan,
    "head_row": formats.head_row,
    "token_header": formats.token_header,
    "token_row": formats.token_row,
    "completion": formats.completion,
}
"""Structure of C, with ``spatten_`` in front of it -> its layout."""

FLAGS = {"command": ("flags", formats.layer_flags), "append": ("append_flags", formats.append_flags)}
"""Structure -> prefix of its flags, and their layout."""

WORDS = {
    "OutFormat": "enum spatten_out_format",
    "index into LISTS": "enum spatten_list",
    ":class:`Code`": "spatten_code",
}
"""What comments of Python name, and what it is in C."""

COLUMNS = 120

NUMBERS = {name: value for name in formats.__all__ if isinstance(value := getattr(formats, name), int)}

HEAD = """\
/* SpAtten in memory: commands, plans, tables and completions.
 *
 * Generated from hdl/spec/formats.py by `make registers`; do not edit. docs/commands.md explains the fields.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A structure holds numbers as the host has them. spatten_pack_NAME(memory, &structure) writes it as the accelerator
 * reads it, little endian, and spatten_unpack_NAME(&structure, memory) reads what the accelerator wrote; memory needs
 * no alignment. On a little endian host both are a copy, for the structure has the layout of memory.
 * Begin with a structure of zeros: what is reserved must be 0.
 *
 * What shares a member has a _MASK and a _SHIFT, for SPATTEN_GET(member, FIELD) and SPATTEN_SET(FIELD, value) of
 * spatten_regs.h, as in flags = SPATTEN_SET(FLAGS_CAUSAL, 1) and SPATTEN_GET(completion.phase, COMPLETION_PHASE).
 *
 * spatten_code_name(code) gives the name of a code, spatten_code_text(code) what it means, spatten_opcode_name(opcode)
 * the name of an opcode; "unknown" of others.
 */
#ifndef SPATTEN_FORMATS_H
#define SPATTEN_FORMATS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "spatten_regs.h"

/* 0 is right on every host, 1 on little endian ones only. */
#ifndef SPATTEN_LITTLE_ENDIAN
#if defined(__BYTE_ORDER__) && defined(__ORDER_LITTLE_ENDIAN__)
#define SPATTEN_LITTLE_ENDIAN (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
#else
#define SPATTEN_LITTLE_ENDIAN 0
#endif
#endif

/* The lowest `bytes` bytes (1...8) of a number into memory, little endian. */
static inline void spatten_store(void *memory, unsigned bytes, uint64_t value)
{
    uint8_t *byte = (uint8_t *)memory;
    unsigned i;
    for (i = 0; i < bytes; ++i)
        byte[i] = (uint8_t)(value >> 8 * i);
}

/* A number of `bytes` bytes (1...8) out of memory, little endian. */
static inline uint64_t spatten_load(const void *memory, unsigned bytes)
{
    const uint8_t *byte = (const uint8_t *)memory;
    uint64_t value = 0;
    unsigned i;
    for (i = 0; i < bytes; ++i)
        value |= (uint64_t)byte[i] << 8 * i;
    return value;
}
"""


@dataclasses.dataclass(frozen=True)
class Member:
    """A member of a structure: an integer of 1, 2, 4 or 8 bytes, or an array of bytes.

    ``parts``: (name, lowest bit, bits) of the fields that share it; none if it is a field.
    """

    name: str
    offset: int
    bytes: int
    parts: tuple[tuple[str, int, int], ...] = ()

    @property
    def is_array(self) -> bool:
        return self.bytes > 8

    @property
    def unsigned(self) -> str:
        return f"uint{8 if self.is_array else 8 * self.bytes}_t"


def members(layout: data.StructLayout) -> Iterator[Member]:
    """Members of a record, without gaps: fields of bits are collected to one that has the name of the first."""
    names: list[tuple[str, int, int]] = []
    start = 0
    for name, field in layout:
        if not names:
            start = field.offset
        names.append((name, field.offset - start, field.width))
        width = field.offset + field.width - start
        if width in (8, 16, 32, 64) or (width % 8 == 0 and width > 64):
            nested = field.shape if isinstance(field.shape, data.StructLayout) else None
            parts = [(part, inner.offset, inner.width) for part, inner in nested] if nested else names
            shared = nested is not None or len(names) > 1
            yield Member(names[0][0], start // 8, width // 8, tuple(parts) if shared else ())
            names = []
    if names:
        raise ValueError(f"fields must end with an integer of 1, 2, 4 or 8 bytes, not in the middle of {names[0][0]}")


def c_formats() -> str:
    """Text of ``spatten_formats.h``."""
    lines = [HEAD, *(f"#define SPATTEN_{name} {number}u" for name, number in NUMBERS.items())]
    lines += ["", *_enum("opcode", _named(formats.Opcode)), "", *_enum("out_format", _named(formats.OutFormat))]
    lines += ["", *_enum("list", [(name.upper(), number, "") for number, name in enumerate(formats.LISTS)])]
    lines += ["", *_enum("code", _codes()), ""]
    for function, column in (("code_name", 0), ("code_text", 2)):
        lines += [*_switch(function, [(value[1], str(value[column])) for value in _codes()]), ""]
    lines += _switch("opcode_name", [(opcode.value, opcode.name) for opcode in formats.Opcode])
    for name, layout in RECORDS.items():
        lines += ["", *_structure(name, layout), "", *_copies(name, layout)]
    return "\n".join([*lines, "", "#endif", ""])


def _named(values: type[enum.IntEnum]) -> list[tuple[str, int, str]]:
    texts = docstrings(values)
    return [(value.name, value.value, texts[value.name]) for value in values]


def _codes() -> list[tuple[str, int, str]]:
    """Codes of a completion, the core's first."""
    names = {getattr(payloads, name): name for name in payloads.__all__ if name.startswith("BAD_")} | {0: "DONE"}
    core = [(names[code], code, text) for code, text in payloads.STATUS.items()]
    return core + _named(formats.Code)


def _enum(name: str, values: list[tuple[str, int, str]]) -> Iterator[str]:
    yield f"enum spatten_{name} {{"
    for index, (value, number, text) in enumerate(values):
        comma = "," if index + 1 < len(values) else ""
        yield from _explained(f"    SPATTEN_{name.upper()}_{value} = {number}{comma}", text)
    yield "};"


def _switch(function: str, texts: list[tuple[int, str]]) -> Iterator[str]:
    """A function from a number to a string."""
    yield f"static inline const char *spatten_{function}(unsigned value)"
    yield "{"
    yield "    switch (value) {"
    for number, text in texts:
        yield f'    case {number}: return "{text}";'
    yield '    default: return "unknown";'
    yield "    }"
    yield "}"


def _comments(layout: Callable) -> dict[str, str]:
    """Field -> what is said of it, in the words of C."""
    found = comments(layout)
    for word, better in WORDS.items():
        found = {name: text.replace(word, better) for name, text in found.items()}
    return found


def _explained(line: str, text: str | None) -> Iterator[str]:
    """A line with a comment at its end, or above it if both are too long for one."""
    full = f"{line} /* {text} */" if text else line
    if len(full) <= COLUMNS:
        yield full
    else:
        yield f"{line[: len(line) - len(line.lstrip())]}/* {text} */"
        yield line


def _is_signed(member: Member, texts: dict[str, str]) -> bool:
    return texts.get(member.name, "").startswith("signed")


def _structure(name: str, layout: Callable[[], data.StructLayout]) -> Iterator[str]:
    """The structure, masks of its parts, and what must hold of it."""
    made, texts = layout(), _comments(layout)
    yield f"struct spatten_{name} {{"
    for member in members(made):
        array = f"[{member.bytes}]" if member.is_array else ""
        c_type = member.unsigned.removeprefix("u") if _is_signed(member, texts) else member.unsigned
        yield from _explained(f"    {c_type} {member.name}{array};", texts.get(member.name))
    yield "};"
    for member in members(made):
        yield from _parts(name, member, nested=isinstance(made[member.name].shape, data.StructLayout))
    for member in members(made):
        where = f"offsetof(struct spatten_{name}, {member.name}) == {member.offset}"
        yield f"SPATTEN_ASSERT(at_{name}_{member.name}, {where});"
    yield f"SPATTEN_ASSERT(sizeof_{name}, sizeof(struct spatten_{name}) == {made.size // 8});"


def _parts(name: str, member: Member, *, nested: bool) -> Iterator[str]:
    """Masks and shifts of what shares a member; ``nested``: it is a layout of its own, the flags."""
    prefix, layout = FLAGS[name] if nested else (name, None)
    texts = _comments(layout) if layout else {}
    for part, lsb, width in member.parts:
        if not part.startswith("reserved"):
            full = f"SPATTEN_{prefix}_{part}".upper()
            yield from _explained(f"#define {full}_MASK UINT32_C(0x{(1 << width) - 1 << lsb:X})", texts.get(part))
            yield f"#define {full}_SHIFT {lsb}"


def _copies(name: str, layout: Callable[[], data.StructLayout]) -> Iterator[str]:
    """From structure to memory, and back."""
    items, texts = list(members(layout())), _comments(layout)
    yield f"static inline void spatten_pack_{name}(void *memory, const struct spatten_{name} *from)"
    yield "{"
    yield "#if SPATTEN_LITTLE_ENDIAN"
    yield "    memcpy(memory, from, sizeof *from);"
    yield "#else"
    yield "    uint8_t *to = (uint8_t *)memory;"
    for member in items:
        place, value = f"to + {member.offset}", f"from->{member.name}"
        if member.is_array:
            yield f"    memcpy({place}, {value}, {member.bytes});"
        else:
            cast = f"({member.unsigned})" if _is_signed(member, texts) else ""
            yield f"    spatten_store({place}, {member.bytes}, {cast}{value});"
    yield "#endif"
    yield "}"
    yield ""
    yield f"static inline void spatten_unpack_{name}(struct spatten_{name} *to, const void *memory)"
    yield "{"
    yield "#if SPATTEN_LITTLE_ENDIAN"
    yield "    memcpy(to, memory, sizeof *to);"
    yield "#else"
    yield "    const uint8_t *from = (const uint8_t *)memory;"
    for member in items:
        place = f"from + {member.offset}"
        if member.is_array:
            yield f"    memcpy(to->{member.name}, {place}, {member.bytes});"
        else:
            c_type = member.unsigned.removeprefix("u") if _is_signed(member, texts) else member.unsigned
            yield f"    to->{member.name} = ({c_type})spatten_load({place}, {member.bytes});"
    yield "#endif"
    yield "}"
