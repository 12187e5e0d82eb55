"""Statements of a module that say nothing new: bits that are not there, logic that is there already, other names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from hdl.emit.rtlil import Item, Module, names_in, renamed

__all__ = ["drop_aliases", "drop_empty", "share_logic"]

_EMPTY = "{  }"
_OUTPUTS = ("\\Y", "\\Q", "\\DATA")
"""Of the cells that Amaranth writes, those of instances apart."""
_MEMORIES = ("$memrd_v2", "$memwr_v2", "$meminit_v2")


def _port(line: str) -> tuple[str, str]:
    """Port and signal of a line ``connect \\A \\x [0]`` of a cell; empty for other lines."""
    words = line.split(" ", 2)
    return (words[1], words[2]) if words[0] == "connect" else ("", "")


def _is_logic(item: Item) -> bool:
    """Whether it is a cell whose only effect is its output: no register, memory, instance, check or free value."""
    return (
        item.kind == "cell"
        and re.fullmatch(r"\$(?!dff|adff|mem|print|check|tribuf|any|initstate)\w+", item.type) is not None
    )


# Zero bits ------------------------------------------------------------------------------------------------------


def drop_empty(modules: Iterable[Module]) -> None:
    """Take away wires, ports and memories of zero bits, and what drives or connects them.

    Verilog has no vectors of zero bits: Yosys would write ``[-1:0]``, which is two bits. An operand of zero bits is 0
    and stays, since Yosys writes it as a constant.
    """
    modules = list(modules)
    known = {module.name for module in modules}
    for module in modules:
        empty = {name for name, wire in module.wires.items() if not wire.width}
        module.items = [item for item in module.items if not _is_empty(item, empty)]
        for item in module.items:
            item.lines = _full_lines(item, empty, item.type in known)
        module.connects = [(left, right) for left, right in module.connects if left not in empty]
        for name in empty:
            del module.wires[name]


def _is_empty(item: Item, empty: set[str]) -> bool:
    if item.kind == "memory":
        return item.head.startswith("memory width 0 ")
    if item.type in _MEMORIES:
        return "parameter \\WIDTH 0" in item.lines
    if item.kind == "cell" and item.type.startswith("$"):
        return any(port in _OUTPUTS and signal in empty for port, signal in map(_port, item.lines))
    return False


def _full_lines(item: Item, empty: set[str], instance: bool) -> list[str]:
    if instance:
        return [line for line in item.lines if _port(line)[1] not in empty | {_EMPTY}]
    if item.kind == "process":
        return [line for line in item.lines if not (line.startswith("assign ") and line.split(" ")[1] in empty)]
    return item.lines


# Equal logic ----------------------------------------------------------------------------------------------------


def share_logic(module: Module) -> None:
    """Keep one of several unnamed results of the same operation on the same operands; a named one stands for them.

    Amaranth writes an expression anew wherever the description has it.
    """
    while equal := _equal_results(module):
        module.items = [item for item in module.items if not _outputs(item) & equal.keys()]
        for item in module.items:
            item.lines = [_replaced(line, equal) for line in item.lines]
        module.connects = [(left, _replaced(right, equal)) for left, right in module.connects]
        module.wires = {name: wire for name, wire in module.wires.items() if name not in equal}


def _equal_results(module: Module) -> dict[str, str]:
    """Result that another one makes superfluous -> that one."""
    results: dict[tuple[str, ...], list[str]] = {}
    for item in module.items:
        for output in _outputs(item):
            key = (item.type, *(line for line in item.lines if _port(line)[0] != "\\Y"))
            results.setdefault(key, []).append(output)
    return {
        name: kept
        for names in results.values()
        for kept in [min(names, key=lambda name: name.startswith("$"))]
        for name in names
        if name != kept and name.startswith("$") and module.wires[name] == module.wires[kept]
    }


def _replaced(text: str, names: dict[str, str]) -> str:
    return renamed(text, lambda name: names.get(name, name))


# Aliases --------------------------------------------------------------------------------------------------------


def drop_aliases(module: Module) -> None:
    """Take away wires that only name another signal and that nothing reads, and unnamed logic that only they read.

    Ports, registers, memories and named results of logic stay. A power-on value stays with the register, not with
    wires that follow it.
    """
    dropped = _unread(module)
    module.items = [item for item in module.items if not _outputs(item) & dropped]
    module.connects = [(left, right) for left, right in module.connects if left not in dropped]
    module.wires = {name: wire for name, wire in module.wires.items() if name not in dropped}
    for left, _ in module.connects:
        if wire := module.wires.get(left):
            wire.attributes = tuple(line for line in wire.attributes if not line.startswith("attribute \\init "))


def _unread(module: Module) -> set[str]:
    """Wires that are no ports and that nothing reads; of the results of cells the unnamed ones only."""
    mentions = Counter(name for item in module.items for line in item.lines for name in names_in(line))
    # A connection to a whole wire makes that an alias, one to some bits uses it.
    mentions.update(name for left, right in module.connects for name in names_in(f"{left} {right}") if name != left)
    drivers = {name: item for item in module.items for name in _outputs(item)}
    sources = dict(module.connects)
    found: set[str] = set()
    left = [name for name, wire in module.wires.items() if not wire.port]
    while left:
        name = left.pop()
        if name in found or name not in module.wires or module.wires[name].port:
            continue
        if name in drivers and name.startswith("$") and mentions[name] == 1:  # where it is driven
            read = [operand for line in drivers[name].lines for operand in names_in(_port(line)[1])]
        elif not mentions[name]:
            read = list(names_in(sources.get(name, "")))
        else:
            continue
        found.add(name)
        mentions.subtract(read)
        left += read
    return found


def _outputs(item: Item) -> set[str]:
    return {signal for port, signal in map(_port, item.lines) if port == "\\Y"} if _is_logic(item) else set()
