"""The header of the formats in memory says what hdl/spec/formats.py says."""

import enum
import random
import re
import shutil
import subprocess

import pytest
from amaranth.lib import data

from hdl.registers.c_formats import FLAGS, RECORDS, c_formats, members
from hdl.registers.c_header import c_header
from hdl.registers.explained import comments, docstrings
from hdl.spec import formats
from hdl.spec.payloads import STATUS
from hdl.spec.register_map import MAP
from tests.hdl.registers.test_outputs import COMPILERS, WARNINGS


def values(layout, generator):
    """Random values of a layout: (bits as an integer, (member, mask of a part, value) of every integer)."""
    bits, found = 0, []
    for member in members(layout):
        parts = member.parts or ((member.name, 0, 8 * member.bytes),)
        for name, lsb, width in parts:
            value = 0 if name.startswith("reserved") else generator.getrandbits(width)
            bits |= value << 8 * member.offset + lsb
            if not member.is_array:
                found.append((member.name, (1 << width) - 1 << lsb, value << lsb))
    return bits, found


def program(seed: int) -> str:
    """Unpacks random records, compares every field, and packs them again; ends with the line of what differs."""
    generator, lines = random.Random(seed), ['#include "spatten_formats.h"', "int main(void) {"]
    for name, layout in RECORDS.items():
        bits, found = values(layout(), generator)
        size = layout().size // 8
        array = ", ".join(map(str, bits.to_bytes(size, "little")))
        lines.append(f"{{ static const uint8_t memory[] = {{{array}}}; uint8_t again[{size}];")
        lines.append(f"struct spatten_{name} record; spatten_unpack_{name}(&record, memory);")
        for member, mask, value in found:
            lines.append(
                f"if (((uint64_t)record.{member} & UINT64_C({mask})) != UINT64_C({value})) return {len(lines)};"
            )
        lines.append(f"spatten_pack_{name}(again, &record);")
        lines.append(f"if (memcmp(memory, again, {size}) != 0 || sizeof memory != {size}) return {len(lines)}; }}")
    return "\n".join([*lines, "return 0; }", ""])


@pytest.mark.parametrize("little", [0, 1])
@pytest.mark.parametrize("language", COMPILERS)
def test_records(language, little, tmp_path):
    """By copy and byte by byte."""
    compiler, standard = COMPILERS[language]
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    (tmp_path / "spatten_regs.h").write_text(c_header(MAP))
    (tmp_path / "spatten_formats.h").write_text(c_formats())
    for seed in range(2):
        (tmp_path / "test.c").write_text(program(seed))
        command = [compiler, standard, *WARNINGS, f"-DSPATTEN_LITTLE_ENDIAN={little}", "-x", language]
        subprocess.run([*command, str(tmp_path / "test.c"), "-o", str(tmp_path / "test")], check=True)
        assert subprocess.run([str(tmp_path / "test")]).returncode == 0


@pytest.mark.parametrize("name", RECORDS)
def test_masks_are_those_of_the_layout(name):
    """A field set by its mask is the field of the layout; whole members have none."""
    text, layout = c_formats(), RECORDS[name]()
    for member in members(layout):
        for part, _, _ in member.parts:
            if part.startswith("reserved"):
                continue
            nested = isinstance(layout[member.name].shape, data.StructLayout)
            full = f"{FLAGS[name][0] if nested else name}_{part}".upper()
            (mask,) = re.findall(rf"#define SPATTEN_{full}_MASK UINT32_C\((\w+)\)", text)
            (shift,) = re.findall(rf"#define SPATTEN_{full}_SHIFT (\d+)", text)
            field = layout[member.name].shape[part] if nested else layout[part]
            assert int(mask, 16) >> int(shift) == (1 << field.width) - 1
            start = layout[member.name].offset if nested else 8 * member.offset
            assert int(shift) + start == field.offset + (start if nested else 0)


def test_numbers():
    text = c_formats()
    kinds = (("OPCODE", formats.Opcode), ("OUT_FORMAT", formats.OutFormat), ("CODE", formats.Code))
    for prefix, kind in kinds:
        for member in kind:
            assert re.search(rf"^    SPATTEN_{prefix}_{member.name} = {member.value}\b", text, re.MULTILINE)
    assert len(re.findall(r"^    SPATTEN_CODE_\w+ = ", text, re.MULTILINE)) == len(STATUS) + len(formats.Code)
    for code, words in STATUS.items():
        assert f'    case {code}: return "{words}";' in text
    for number, name in enumerate(formats.LISTS):
        assert f"SPATTEN_LIST_{name.upper()} = {number}" in text
    assert "#define SPATTEN_PLAN_BYTES 128u" in text and "#define SPATTEN_ALIGNMENT 64u" in text


def test_a_wrong_offset_does_not_compile(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    (tmp_path / "spatten_regs.h").write_text(c_header(MAP))
    text = c_formats()
    for standard in ("-std=c99", "-std=c11"):
        for wrong in (
            text.replace("flat_limit) == 20", "flat_limit) == 24"),
            text.replace("plan) == 128", "plan) == 96"),
        ):
            assert wrong != text
            (tmp_path / "test.c").write_text(wrong)
            command = ["gcc", standard, "-fsyntax-only", str(tmp_path / "test.c")]
            assert subprocess.run(command, capture_output=True).returncode != 0


def test_members_end_with_an_integer():
    layout = data.StructLayout({"a": 8, "b": 4, "c": 4, "d": 3})
    with pytest.raises(
        ValueError, match="fields must end with an integer of 1, 2, 4 or 8 bytes, not in the middle of d"
    ):
        list(members(layout))


def test_words_of_the_source():
    assert comments(formats.head_row)["exponent"].startswith("signed: ")
    assert docstrings(formats.Opcode)["NOP"] == "nothing; it is answered"

    class Bare(enum.IntEnum):
        A = 0
        """has one"""
        B = 1

    with pytest.raises(ValueError, match="Bare must have a docstring for each member, not none for B"):
        docstrings(Bare)
