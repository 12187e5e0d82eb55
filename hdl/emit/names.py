"""Names of Verilog that need no backslash and hold no number of a generator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hdl.emit.rtlil import Item, Module, renamed

__all__ = ["dotted", "name_modules", "name_signals"]


def dotted(text: str) -> str:
    """Name elements of arrays ``\\x.0``, not ``\\x[0]``: tools take that for bit 0 of a vector ``x`` (abc9 aborts)."""
    return re.sub(r"\\\S+", lambda name: re.sub(r"\[(\d+)\]", r".\1", name[0]), text)


_MARK = "\\"
"""What a name that somebody gave begins with in RTLIL."""


class _Names:
    """New names, each once: a counter follows where two would be equal."""

    def __init__(self, taken: Iterable[str], first: int = 1):
        self._taken = set(taken)
        self._first = first
        self._next: dict[str, int] = {}

    def __call__(self, base: str) -> str:
        name = base
        while not name or name in self._taken:
            count = self._next.get(base, self._first)
            self._next[base] = count + 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name


def _plain(name: str) -> str:
    """Without what Amaranth adds to tell equal names apart (``$12``), and with letters, digits and ``_`` only.

    The name of an unnamed signal is empty.
    """
    if name.startswith("$"):
        return ""
    plain = re.sub(r"\W+", "_", re.sub(r"(?<=\w)(\$\d+)+", "", name.removeprefix("\\")).strip("$[]"))
    return f"_{plain}" if plain[:1].isdigit() else plain


# Modules --------------------------------------------------------------------------------------------------------


def name_modules(modules: list[Module], top: str) -> None:
    """Name modules ``<top>_<source>``, after the file that describes them, and the first of them ``top``.

    Of several modules of one file, the second ends with ``_2``, the third with ``_3``, in their order.
    """
    unused = _Names([top], first=2)
    new = {}
    for number, module in enumerate(modules):
        base = _plain("\\" + module.source) or _plain("\\" + module.name.rpartition(".")[2])
        new[module.name] = f"\\{unused(f'{top}_{base}') if number else top}"
    for module in modules:
        module.name = new[module.name]
        for cell in module.cells():
            cell.head = f"cell {new.get(cell.type, cell.type)}"


# Signals --------------------------------------------------------------------------------------------------------


def name_signals(modules: list[Module]) -> None:
    """Give ports, wires, memories and instances plain names; those that are plain keep theirs.

    A name that Amaranth had to tell from another ends with a counter of its own: ``ready$43`` is ``ready_1``. Unnamed
    signals are ``_1``, ``_2``, but what register ``x`` takes at the next edge is ``x_next``.
    """
    new = {module.name: _new_names(module) for module in modules}
    for module in modules:
        mine = new[module.name]
        module.wires = {mine[name]: wire for name, wire in module.wires.items()}
        for item in module.items:
            ports = new.get(item.type, {})
            item.name = mine.get(item.name, item.name)
            item.lines = [_line(item, line, mine, ports) for line in item.lines]
        module.connects = [(_replaced(left, mine), _replaced(right, mine)) for left, right in module.connects]


def _new_names(module: Module) -> dict[str, str]:
    names = list(_named(module))
    new = {name: name for name in names if name == f"\\{_plain(name)}"}
    unused = _Names(name.removeprefix("\\") for name in new)
    following = _following(module)
    # Registers before what they take.
    for name in sorted((name for name in names if name not in new), key=following.__contains__):
        base = f"{new[following[name]]}_next" if name in following else _plain(name)
        new[name] = f"\\{unused(base.removeprefix(_MARK))}"
    return new


def _following(module: Module) -> dict[str, str]:
    """Unnamed signal that a named register takes -> the register."""
    found: dict[str, str] = {}
    for cell in module.cells():
        if cell.type in ("$dff", "$adff"):
            ports = dict(line.split(" ", 2)[1:] for line in cell.lines if line.startswith("connect "))
            following, register = ports["\\D"].partition(" ")[0], ports["\\Q"]
            if following.startswith("$") and register.startswith("\\"):
                found.setdefault(following, register)
    return found


def _named(module: Module) -> Iterator[str]:
    """All that has a name in the Verilog."""
    yield from module.wires
    for item in module.items:
        if item.kind == "memory" or (item.kind == "cell" and not item.type.startswith("$")):
            yield item.name


def _line(item: Item, line: str, names: dict[str, str], ports: dict[str, str]) -> str:
    if item.kind == "process":
        return _replaced(line, names)
    word, name, value = line.split(" ", 2)
    if word == "connect":
        return f"connect {ports.get(name, name)} {_replaced(value, names)}"
    if name == "\\MEMID":
        memory = names[value.strip('"').replace("\\\\", "\\")].replace("\\", "\\\\")
        return f'{word} {name} "{memory}"'
    return line


def _replaced(text: str, names: dict[str, str]) -> str:
    return renamed(text, lambda name: names[name])
