"""RTLIL text as Amaranth writes it: modules with their wires, statements and connections, and back to text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath

__all__ = ["Item", "Module", "Wire", "names_in", "parse", "renamed", "render"]

_WIRE = re.compile(r"wire width (\d+)(?: (input|output|inout) \d+ )?( signed)? (\S+)$")
_CONNECT = re.compile(r"connect (\S+|\S+ \[[\d:]+\]|\{ .* \}) (\S+|\S+ \[[\d:]+\]|\{ .* \})$")
_NAME = re.compile(r'"(?:[^"\\]|\\.)*"|[\\$]\S+')
_SOURCE = re.compile(r'attribute \\src "(.*):\d+"$')
_DROPPED = ("attribute \\src ", "attribute \\generator ", "attribute \\top ")


@dataclasses.dataclass
class Wire:
    """width: bits; port: input, output, inout or empty; attributes: lines, such as ``attribute \\init 1'0``."""

    width: int
    port: str = ""
    signed: bool = False
    attributes: tuple[str, ...] = ()


@dataclasses.dataclass
class Item:
    """A cell, process or memory.

    head: its first line without the name. lines: those between head and ``end``, none of a memory, without indentation
    of the module. A cell's kind is its type.
    """

    head: str
    name: str
    attributes: tuple[str, ...] = ()
    lines: list[str] = dataclasses.field(default_factory=list)

    @property
    def kind(self) -> str:
        return self.head.partition(" ")[0]

    @property
    def type(self) -> str:
        """Of a cell: ``$and``, or the name of a module."""
        return self.head.partition(" ")[2]


@dataclasses.dataclass
class Module:
    """source: stem of the Python file that describes it, empty if it is not known. path: where it stands, the name
    that Amaranth gave it. copies: how often it is instantiated, its equals that were merged with it included.
    """

    name: str
    source: str = ""
    path: str = ""
    copies: int = 1
    attributes: tuple[str, ...] = ()
    wires: dict[str, Wire] = dataclasses.field(default_factory=dict)
    items: list[Item] = dataclasses.field(default_factory=list)
    connects: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def cells(self) -> Iterator[Item]:
        return (item for item in self.items if item.kind == "cell")


def names_in(text: str) -> Iterator[str]:
    """Names in a line, in their order; strings, which hold the names of memories, are left out."""
    return (found for found in _NAME.findall(text) if found[0] != '"')


def renamed(text: str, new: Callable[[str], str]) -> str:
    """The line with each name replaced by ``new`` of it; strings stay."""
    return _NAME.sub(lambda found: found[0] if found[0][0] == '"' else new(found[0]), text)


def parse(text: str) -> list[Module]:
    """The modules of a text of :func:`amaranth.back.rtlil.convert`, without its places in sources.

    ValueError for a line that Amaranth does not write.
    """
    lines = (line for raw in text.split("\n") if (line := raw.strip()))
    modules: list[Module] = []
    attributes: list[str] = []
    source = ""
    for line in lines:
        if line.startswith("module "):
            modules.append(_module(line.removeprefix("module "), source, tuple(attributes), lines))
            attributes, source = [], ""
        elif found := _SOURCE.match(line):
            source = PurePath(found[1]).stem
        elif line.startswith("attribute "):
            attributes += [line] if not line.startswith(_DROPPED) else []
        else:
            raise ValueError(f"a line outside of modules must begin one, not {line!r}")
    return modules


def _module(name: str, source: str, attributes: tuple[str, ...], lines: Iterator[str]) -> Module:
    """The module of that name; its lines are taken up to its ``end``."""
    module = Module(name, source, name.removeprefix("\\"), attributes=attributes)
    kept: list[str] = []
    for line in lines:
        if line == "end":
            return module
        if line.startswith("attribute "):
            kept += [line] if not line.startswith(_DROPPED) else []
            continue
        if found := _WIRE.match(line):
            module.wires[found[4]] = Wire(int(found[1]), found[2] or "", bool(found[3]), tuple(kept))
        elif found := _CONNECT.match(line):
            module.connects.append((found[1], found[2]))
        else:
            module.items.append(_item(line, tuple(kept), lines))
        kept = []
    raise ValueError(f"module {name} must have an end")


def _item(line: str, attributes: tuple[str, ...], lines: Iterator[str]) -> Item:
    head, _, name = line.rpartition(" ")
    item = Item(head, name, attributes)
    if item.kind not in ("cell", "process", "memory"):
        raise ValueError(f"a line of a module must be a wire, cell, process, memory or connect, not {line!r}")
    depth = 0 if item.kind == "memory" else 1
    while depth:
        inner = next(lines)
        depth += inner.startswith("switch ") - (inner == "end")
        if depth:
            item.lines.append(inner)
    return item


def _lines_of(module: Module) -> Iterator[str]:
    yield from module.attributes
    yield f"module {module.name}"
    port = 0
    for name, wire in module.wires.items():
        yield from wire.attributes
        kind = f" {wire.port} {port}" if wire.port else ""
        port += bool(wire.port)
        yield f"wire width {wire.width}{kind}{' signed' if wire.signed else ''} {name}"
    for item in module.items:
        yield from item.attributes
        yield f"{item.head} {item.name}"
        yield from item.lines
        if item.kind != "memory":
            yield "end"
    for left, right in module.connects:
        yield f"connect {left} {right}"
    yield "end"


def render(modules: Iterable[Module]) -> str:
    """RTLIL text of modules; Yosys does not ask for indentation."""
    return "".join(f"{line}\n" for module in modules for line in _lines_of(module))
