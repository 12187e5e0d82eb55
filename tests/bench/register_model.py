"""What software sees of a register map, access by access; and what hardware does."""

from __future__ import annotations

import dataclasses

from hdl.spec.register_map import Field, Kind, Place, RegisterMap

__all__ = ["OKAY", "SLVERR", "Effects", "RegisterModel"]

OKAY, SLVERR = 0, 2


@dataclasses.dataclass
class Effects:
    """Of a write: its response, the 1s of pulse fields by (register, field), and the register if it has a strobe."""

    response: int
    pulses: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    written: set[str] = dataclasses.field(default_factory=set)


class RegisterModel:
    """Registers but for those of external groups, whose words are in ``windows`` by address.

    ``state`` and ``values`` have fields by (register, field): what is kept here, and what hardware gives.
    """

    def __init__(self, registers: RegisterMap):
        self.places: dict[int, Place] = {place.address: place for place in registers.places(external=False)}
        self.windows: dict[int, int] = {
            address: 0
            for group in registers.groups
            if group.external
            for address in range(group.offset, group.offset + group.count * group.stride, 4)
        }
        self.state: dict[tuple[str, str], int] = {}
        self.values: dict[tuple[str, str], int] = {}
        for place, field in self.fields():
            if field.kind == Kind.VALUE:
                self.values[place.name, field.name] = 0
            elif field.kind != Kind.PULSE:
                self.state[place.name, field.name] = field.reset

    def fields(self) -> list[tuple[Place, Field]]:
        return [(place, field) for place in self.places.values() for field in place.register.fields]

    def read(self, address: int) -> tuple[int, int]:
        """(Response, data)."""
        address &= ~3
        if address in self.windows:
            return OKAY, self.windows[address]
        place = self.places.get(address)
        if place is None or all(field.kind == Kind.PULSE for field in place.register.fields):
            return SLVERR, 0
        known = self.state | self.values
        bits = {field.lsb: known.get((place.name, field.name), 0) for field in place.register.fields}
        return OKAY, sum(value << lsb for lsb, value in bits.items())

    def write(self, address: int, data: int, strobes: int) -> Effects:
        place = self.places.get(address & ~3)
        kinds = (Kind.STORED, Kind.PULSE, Kind.STICKY)
        if place is None or not any(field.kind in kinds for field in place.register.fields):
            return Effects(SLVERR)
        enables = sum(0xFF << 8 * byte for byte in range(4) if strobes >> byte & 1)
        for field in place.register.fields:
            missing = ((1 << field.cut) - 1) << (field.lsb + field.width)
            if data & enables & missing:
                return Effects(SLVERR)
        effects = Effects(OKAY, written={place.name} if place.register.strobe and strobes else set())
        for field in place.register.fields:
            self._write_field(place, field, data, enables, effects)
        return effects

    def _write_field(self, place: Place, field: Field, data: int, enables: int, effects: Effects) -> None:
        key, mask = (place.name, field.name), (1 << field.width) - 1
        bits, enable = data >> field.lsb & mask, enables >> field.lsb & mask
        if field.kind == Kind.STORED:
            self.state[key] = (self.state[key] & ~enable) | (bits & enable)
        elif field.kind == Kind.STICKY:
            self.state[key] &= ~(bits & enable)
        elif field.kind == Kind.PULSE and bits & enable:
            effects.pulses[key] = bits & enable
