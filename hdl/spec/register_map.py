"""The registers of the AXI top, as data: names, places, bits and kinds, without Amaranth.

:data:`MAP` is read from ``registers.json``, which ``make registers`` makes of ``registers.rdl``.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "ADDRESS_WIDTH",
    "CORE_COUNTERS",
    "DATA_WIDTH",
    "MAP",
    "MAX_QUEUES",
    "Choice",
    "Field",
    "Group",
    "Kind",
    "Place",
    "Register",
    "RegisterMap",
]

DATA_WIDTH = 32
"""Bits of a register."""
ADDRESS_WIDTH = 16
"""Bits of a byte address of the AXI4-Lite port."""
MAX_QUEUES = 8
CORE_COUNTERS = 64
"""Places for counters of the core, before those of the channels."""
MIN_ADDRESS_BITS, MAX_ADDRESS_BITS = 32, 64


class Kind(enum.StrEnum):
    """Who writes a field, and when."""

    STORED = "stored"
    """Software writes it; it keeps its value."""
    VALUE = "value"
    """Hardware (or the configuration) gives it; software reads it."""
    CONSTANT = "constant"
    PULSE = "pulse"
    """A 1 that software writes is seen for a cycle; it cannot be read."""
    STICKY = "sticky"
    """A bit is set by hardware, and cleared by a 1 that software writes; of both in a cycle it is set."""


READABLE = (Kind.STORED, Kind.VALUE, Kind.CONSTANT, Kind.STICKY)
WRITABLE = (Kind.STORED, Kind.PULSE, Kind.STICKY)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """A value of a field that has a name."""

    name: str
    value: int
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """Bits ``lsb`` … ``lsb + width - 1`` of a register."""

    name: str
    lsb: int
    width: int
    kind: Kind
    reset: int = 0
    bits_of: str = ""
    """What of a configuration says how many of the bits there are: "address", "limit", "queues"; or nothing."""
    cut: int = 0
    """Bits above them that the configuration lacks; a write that sets one is refused."""
    hardware_clears: bool = False
    """Hardware can hold the field at its reset value."""
    choices: tuple[Choice, ...] = ()
    text: str = ""

    @property
    def mask(self) -> int:
        """In the register."""
        return ((1 << self.width) - 1) << self.lsb


@dataclasses.dataclass(frozen=True, kw_only=True)
class Register:
    """32 bits at ``offset`` of the map (or of the group that it is in)."""

    name: str
    offset: int
    fields: tuple[Field, ...]
    strobe: bool = False
    """Hardware sees that it was written."""
    title: str = ""
    text: str = ""

    @property
    def readable(self) -> bool:
        return any(field.kind in READABLE for field in self.fields)

    @property
    def writable(self) -> bool:
        return any(field.kind in WRITABLE for field in self.fields)

    @property
    def reset(self) -> int:
        """What is read after reset, but for what hardware gives."""
        return sum(field.reset << field.lsb for field in self.fields if field.kind in READABLE)

    def fields_of(self, kind: Kind) -> tuple[Field, ...]:
        """Of those that have a bit."""
        return tuple(field for field in self.fields if field.kind == kind and field.width)

    def field(self, name: str) -> Field:
        return {field.name: field for field in self.fields}[name]

    def pack(self, **values: int) -> int:
        """The word of these fields, the others 0; ValueError for a value that does not fit."""
        word = 0
        for name, value in values.items():
            field = self.field(name)
            if not 0 <= value < 1 << field.width:
                raise ValueError(f"{self.name}.{name} must be from 0 to {(1 << field.width) - 1}, not {value!r}")
            word |= value << field.lsb
        return word

    def unpack(self, word: int) -> dict[str, int]:
        """Field -> its value in a word."""
        return {field.name: (word & field.mask) >> field.lsb for field in self.fields}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """``count`` times the same registers, element i at ``offset + i * stride`` of the map."""

    name: str
    offset: int
    stride: int
    count: int
    count_of: str
    """What of a configuration says how many elements there are: "channels", "queues" or "counters"."""
    external: bool
    """The words lie in a memory, which hardware fills and software reads."""
    registers: tuple[Register, ...]
    names: tuple[str, ...] = ()
    """Of the first elements."""
    title: str = ""
    text: str = ""

    @property
    def words(self) -> int:
        """Registers' places from the first element's beginning to the last one's end."""
        return self.count * self.stride * 8 // DATA_WIDTH


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """A register at its address."""

    address: int
    register: Register
    group: Group | None = None
    index: int = 0
    """Of the element of the group."""

    @property
    def name(self) -> str:
        """As in ``ctrl`` or ``queue[1].size``."""
        return f"{self.group.name}[{self.index}].{self.register.name}" if self.group else self.register.name


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegisterMap:
    """All registers; of a configuration, if :meth:`of_sizes` gave it."""

    name: str
    registers: tuple[Register, ...]
    groups: tuple[Group, ...]
    title: str = ""
    text: str = ""

    def of_sizes(self, *, channels: int, queues: int, address_bits: int) -> RegisterMap:
        """The map of a configuration: with as many elements of each array and bits of each field as it has.

        ``address_bits``: bits of an address of memory, 32 to 64. ValueError if the map has no place for it.
        """
        counts = {"channels": channels, "queues": queues, "counters": CORE_COUNTERS + 2 * channels}
        if not MIN_ADDRESS_BITS <= address_bits <= MAX_ADDRESS_BITS:
            raise ValueError(
                f"address_bits must be from {MIN_ADDRESS_BITS} to {MAX_ADDRESS_BITS}, not {address_bits!r}"
            )
        for group in self.groups:
            if not 1 <= counts[group.count_of] <= group.count:
                raise ValueError(f"{group.count_of} must be from 1 to {group.count}, not {counts[group.count_of]!r}")
        upper = address_bits - DATA_WIDTH
        bits = {"address": upper, "limit": min(upper + 1, DATA_WIDTH), "queues": queues}

        def cut(register: Register) -> Register:
            return dataclasses.replace(register, fields=tuple(_narrow(field, bits) for field in register.fields))

        return dataclasses.replace(
            self,
            registers=tuple(map(cut, self.registers)),
            groups=tuple(
                dataclasses.replace(group, count=counts[group.count_of], registers=tuple(map(cut, group.registers)))
                for group in self.groups
            ),
        )

    def places(self, *, external: bool = True) -> Iterator[Place]:
        """Every register, by address; ``external``: those that lie in a memory, too."""
        found = [Place(address=register.offset, register=register) for register in self.registers]
        for group in self.groups:
            if external or not group.external:
                found += [
                    Place(
                        address=group.offset + index * group.stride + register.offset,
                        register=register,
                        group=group,
                        index=index,
                    )
                    for index in range(group.count)
                    for register in group.registers
                ]
        return iter(sorted(found, key=lambda place: place.address))

    @functools.cached_property
    def by_name(self) -> Mapping[str, Place]:
        """``ctrl``, ``queue[1].size`` … -> the register there."""
        return {place.name: place for place in self.places()}

    def to_json(self) -> str:
        return json.dumps(_plain(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RegisterMap:
        """Read what :meth:`to_json` wrote."""
        return _read_map(json.loads(text))


def _narrow(field: Field, bits: Mapping[str, int]) -> Field:
    """The field with the bits that a configuration has; of an address, those that it lacks are refused."""
    width = min(field.width, bits.get(field.bits_of, field.width))
    cut = field.width - width if field.bits_of in ("address", "limit") else 0
    return dataclasses.replace(field, width=width, cut=cut)


def _plain(item: Any) -> Any:
    """For JSON: without what is as by default."""
    if dataclasses.is_dataclass(item):
        pairs = ((field, getattr(item, field.name)) for field in dataclasses.fields(item))
        return {field.name: _plain(value) for field, value in pairs if value != field.default}
    return [_plain(part) for part in item] if isinstance(item, tuple) else item


def _read_field(data: dict[str, Any]) -> Field:
    choices = tuple(Choice(**choice) for choice in data.pop("choices", ()))
    return Field(**data | {"kind": Kind(data["kind"]), "choices": choices})


def _read_register(data: dict[str, Any]) -> Register:
    return Register(**data | {"fields": tuple(map(_read_field, data["fields"]))})


def _read_group(data: dict[str, Any]) -> Group:
    registers = tuple(map(_read_register, data["registers"]))
    return Group(**data | {"registers": registers, "names": tuple(data.get("names", ()))})


def _read_map(data: dict[str, Any]) -> RegisterMap:
    registers = tuple(map(_read_register, data["registers"]))
    return RegisterMap(**data | {"registers": registers, "groups": tuple(map(_read_group, data["groups"]))})


MAP = RegisterMap.from_json(Path(__file__).with_name("registers.json").read_text(encoding="utf-8"))
"""With the most channels and queues that a configuration can have."""
