"""What is made of the registers' source is what is committed, and says the same in every language."""

import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from hdl.control.counters import events_layout
from hdl.registers.c_header import c_header
from hdl.registers.ipxact import NAMESPACE
from hdl.registers.outputs import ROOT, outputs
from hdl.registers.python_module import python_module
from hdl.registers.source import SOURCE, SourceError, read_source
from hdl.spec.config import PRESETS
from hdl.spec.payloads import STATUS
from hdl.spec.register_map import ADDRESS_WIDTH, MAP, MAX_QUEUES, Field, Kind, Register, RegisterMap

WARNINGS = ("-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
COMPILERS = {"c": ("gcc", "-std=c99"), "c++": ("g++", "-std=c++17")}


@pytest.fixture(scope="module")
def source():
    return read_source()


@pytest.mark.parametrize("name", outputs(MAP))
def test_nothing_is_stale(source, name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == outputs(source)[name], f"{name} is not what its source gives: run make registers"


def test_the_map_is_the_source(source):
    assert source == MAP
    assert RegisterMap.from_json(MAP.to_json()) == MAP


def test_registers_lie_apart():
    addresses = [place.address for place in MAP.places()]
    assert len(set(addresses)) == len(addresses)
    assert all(address % 4 == 0 and address < 1 << ADDRESS_WIDTH for address in addresses)
    doorbells = [place.address for place in MAP.places() if place.group and place.group.name == "doorbell"]
    others = {place.address >> 12 for place in MAP.places() if not (place.group and place.group.name == "doorbell")}
    assert not {address >> 12 for address in doorbells} & others, "a doorbell's page is its queue's alone"
    assert len({address >> 12 for address in doorbells}) == MAX_QUEUES


def test_fields_lie_apart():
    for place in MAP.places():
        bits = [bit for field in place.register.fields for bit in range(field.lsb, field.lsb + field.width)]
        assert len(set(bits)) == len(bits) and max(bits) < 32, place.name


def test_names_of_counters_are_those_of_the_core():
    (group,) = (group for group in MAP.groups if group.name == "counter")
    assert group.names == tuple(events_layout(PRESETS["tiny"]).members)


def test_codes_of_faults_are_not_those_of_jobs():
    codes = {choice.value for choice in MAP.by_name["fault"].register.field("code").choices}
    assert len(codes) > 4 and not codes & set(STATUS)


def test_interrupts_have_the_same_bits_everywhere():
    pending, enable, test = (MAP.by_name[f"irq_{name}"].register for name in ("pending", "enable", "test"))
    places = [
        [(field.name, field.lsb, field.width) for field in register.fields] for register in (pending, enable, test)
    ]
    assert places[0] == places[1] == places[2]


def test_pack_and_unpack():
    register = MAP.by_name["max_burst"].register
    assert register.reset == register.pack(read=16, write=16)
    assert register.unpack(register.pack(read=256, write=1)) == {"read": 256, "write": 1}
    with pytest.raises(ValueError, match=r"max_burst\.read must be from 0 to 511, not 512"):
        register.pack(read=512)


def checks() -> list[str]:
    """What the header must say, as conditions in C."""
    found = []
    for place in MAP.places():
        name = f"{place.group.name}_{place.register.name}".upper() if place.group else place.register.name.upper()
        index = f"({place.index})" if place.group else ""
        found.append(f"SPATTEN_{name}_OFFSET{index} == {place.address}u")
        if place.index == 0:
            for field in place.register.fields:
                full = f"{name}_{field.name.upper()}"
                found.append(f"SPATTEN_{full}_MASK == {field.mask}u")
                found.append(f"SPATTEN_SET({full}, SPATTEN_GET({field.mask}u, {full})) == {field.mask}u")
                found += [f"SPATTEN_{full}_{c.name.upper()} == {c.value}u" for c in field.choices]
    return found


@pytest.mark.parametrize("language", COMPILERS)
def test_c_header(language, tmp_path):
    """It compiles without a warning, its static asserts hold, and every number is that of the map."""
    compiler, standard = COMPILERS[language]
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    (tmp_path / "spatten_regs.h").write_text(c_header(MAP))
    conditions = " ".join(
        f"if (!({condition})) return {number % 250 + 1};" for number, condition in enumerate(checks())
    )
    test = tmp_path / "test.c"
    test.write_text(f'#include "spatten_regs.h"\nint main(void) {{ {conditions} return 0; }}\n')
    command = [compiler, standard, *WARNINGS, "-x", language, str(test), "-o", str(tmp_path / "test")]
    subprocess.run(command, check=True, capture_output=True)
    assert subprocess.run([str(tmp_path / "test")]).returncode == 0


def test_a_wrong_offset_does_not_compile(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    text = c_header(MAP)
    wrong = text.replace(
        "offsetof(struct spatten_global, timeout) == 112", "offsetof(struct spatten_global, timeout) == 116"
    )
    assert wrong != text
    (tmp_path / "test.c").write_text(wrong)
    command = ["gcc", "-std=c99", "-fsyntax-only", str(tmp_path / "test.c")]
    assert subprocess.run(command, capture_output=True).returncode != 0


def test_python_module():
    """Offsets and fields of the map, without any import."""
    names: dict = {}
    text = python_module(MAP)
    assert "import" not in text.replace("imports nothing", "")
    exec(compile(text, "spatten_regs.py", "exec"), names)
    for place in MAP.places():
        name = f"{place.group.name}_{place.register.name}".upper() if place.group else place.register.name.upper()
        assert names["offset"](name, place.index) == place.address
        for field in place.register.fields:
            assert names["put"](name, **{field.name: field.mask >> field.lsb}) == field.mask
            assert names["get"](name, field.name, field.mask) == field.mask >> field.lsb
    assert names["NAMES"]["COUNTER"]["cycles"] == 0
    assert names["CHOICES"]["FAULT", "code"]["timeout"] == 16
    with pytest.raises(ValueError, match="index of QUEUE_SIZE must be from 0 to 7, not 8"):
        names["offset"]("QUEUE_SIZE", 8)
    with pytest.raises(ValueError, match=r"TIMEOUT\.cycles must be from 0 to 4294967295, not -1"):
        names["put"]("TIMEOUT", cycles=-1)


def test_ipxact():
    """Addresses, bits and reset values as a reader of IP-XACT computes them."""
    tree = ElementTree.fromstring((ROOT / "driver" / "spatten_regs.xml").read_text())

    def text(element, path):
        return element.findtext("/".join(f"{{{NAMESPACE}}}{name}" for name in path.split("/")))

    def children(element, name):
        return element.findall(f"{{{NAMESPACE}}}{name}")

    (block,) = tree.iter(f"{{{NAMESPACE}}}addressBlock")
    found = {int(text(register, "addressOffset"), 16): register for register in children(block, "register")}
    for group in children(block, "registerFile"):
        for index in range(int(text(group, "dim"))):
            first = int(text(group, "addressOffset"), 16) + index * int(text(group, "range"), 16)
            found |= {first + int(text(r, "addressOffset"), 16): r for r in children(group, "register")}
    assert set(found) == {place.address for place in MAP.places()}
    for place in MAP.places():
        register = found[place.address]
        assert text(register, "name") == place.register.name
        for element, field in zip(children(register, "field"), place.register.fields, strict=True):
            assert (text(element, "name"), int(text(element, "bitOffset")), int(text(element, "bitWidth"))) == (
                field.name,
                field.lsb,
                field.width,
            )
            reset = text(element, "resets/reset/value")
            assert reset is None or int(reset, 16) == field.reset


def test_readable_and_writable():
    def register(*kinds):
        return Register(name="r", offset=0, fields=tuple(Field(name="f", lsb=0, width=1, kind=kind) for kind in kinds))

    assert (register(Kind.PULSE).readable, register(Kind.PULSE).writable) == (False, True)
    assert (register(Kind.VALUE).readable, register(Kind.CONSTANT).writable) == (True, False)
    assert register(Kind.VALUE, Kind.STICKY).writable


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("reg { field { sw = rw; hw = w; } f[0:0] = 0; } a @0;", "t.a.f is of no kind that the bank builds"),
        ("reg { field { sw = rw; hw = r; } f[0:0] = 0; } a[2] @0 += 4;", "t.a[] must be one register of 32 bits"),
        ("reg { regwidth = 16; field { sw = rw; hw = r; } f[0:0] = 0; } a @0;", "t.a must be one register of 32 bits"),
        ("regfile { reg { field { sw = r; hw = w; } f[0:0]; } a @0; } g @0;", "t.g must be an array of one dimension"),
        ("regfile { reg { field { sw = r; hw = w; } f[0:0]; } a @0; } g[2] @0 += 4;", "t.g[] must have count_of"),
        ("external mem { mementries = 4; memwidth = 32; } m @0;", "t.m must be a register or a register file"),
    ],
)
def test_sources_that_the_bank_does_not_build(body, message, tmp_path):
    head = SOURCE.read_text().split("addrmap")[0]
    path = tmp_path / "t.rdl"
    path.write_text(f'{head} addrmap t {{ name = "t"; {body} }};')
    with pytest.raises(SourceError, match=re.escape(message)):
        read_source(path)


def test_python_module_is_what_an_import_gives():
    """On its own, by another Python."""
    code = "import spatten_regs; print(spatten_regs.offset('DOORBELL_TAIL', 1))"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "driver", capture_output=True, text=True)
    assert process.stdout == "12288\n"
