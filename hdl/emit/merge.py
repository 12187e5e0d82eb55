"""Modules that are equal up to names: one of them stays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from hdl.emit.rtlil import Item, Module, renamed

__all__ = ["merge_equal"]


class _Canonical:
    """A module without its names.

    digest: equal for modules that are equal but for the names of wires, ports, memories, cells and of the modules they
    instantiate. ports: their names, in an order that equal modules share.
    """

    def __init__(self, module: Module, known: dict[str, _Canonical]):
        self._module, self._known = module, known
        self._numbers: dict[str, str] = {}
        self._memories = {item.name: item for item in module.items if item.kind == "memory"}
        lines = [line for item in module.items for line in self._item(item)]
        lines += [f"connect {self._plain(left)} {self._plain(right)}" for left, right in module.connects]
        for name in module.wires:  # ports that nothing uses
            self._number(name)
        names = [name for name in self._numbers if name in module.wires]
        for name in names:
            wire = module.wires[name]
            lines.append(f"{wire.width} {wire.port} {wire.signed} {sorted(wire.attributes)}")
        self.ports = [name for name in names if module.wires[name].port]
        self.digest = hashlib.sha256("\n".join([*sorted(module.attributes), *lines]).encode()).hexdigest()

    def _number(self, name: str) -> str:
        return self._numbers.setdefault(name, f"%{len(self._numbers)}")

    def _plain(self, text: str) -> str:
        return renamed(text, self._number)

    def _item(self, item: Item) -> Iterator[str]:
        yield from sorted(item.attributes)
        if item.kind == "memory":
            yield f"{item.head} {self._number(item.name)}"
        elif item.kind == "process":
            yield item.head
            yield from map(self._plain, item.lines)
        else:
            yield from self._cell(item)

    def _cell(self, item: Item) -> Iterator[str]:
        child = self._known.get(item.type)
        yield f"cell {child.digest if child else item.type}"
        ports = {}
        for line in item.lines:
            word, name, value = line.split(" ", 2)
            if word == "connect":
                ports[name] = value
            elif name == "\\MEMID":
                yield f"{name} {self._number(_unquoted(value))}"
            else:
                yield line
        order = child.ports if child else ports
        for number, name in enumerate(order):
            yield f"connect {number if child else name} {self._plain(ports[name])}"


def _unquoted(text: str) -> str:
    return text.strip('"').replace("\\\\", "\\")


def merge_equal(modules: list[Module]) -> list[Module]:
    """The modules without those that equal an earlier one; instances are of the one that stays, and use its ports.

    Equal are those with the same statements in the same order, whatever their wires, ports, memories and cells are
    called; the values of constants, the contents of memories and the attributes count.
    """
    by_name = {module.name: module for module in modules}
    canonical: dict[str, _Canonical] = {}

    def visit(module: Module) -> None:
        for cell in module.cells():
            if cell.type in by_name and cell.type not in canonical:
                visit(by_name[cell.type])
        canonical[module.name] = _Canonical(module, canonical)

    for module in modules:
        if module.name not in canonical:
            visit(module)
    first: dict[str, Module] = {}
    for module in modules:
        kept = first.setdefault(canonical[module.name].digest, module)
        kept.copies += kept is not module
    for cell in (cell for module in first.values() for cell in module.cells() if cell.type in canonical):
        old = canonical[cell.type]
        new = canonical[first[old.digest].name]
        names = dict(zip(old.ports, new.ports, strict=True))
        cell.lines = [_with_port(line, names) for line in cell.lines]
        cell.head = f"cell {first[old.digest].name}"
    return list(first.values())


def _with_port(line: str, names: dict[str, str]) -> str:
    word, name, value = line.split(" ", 2)
    return f"{word} {names[name]} {value}" if word == "connect" else line
