"""Registers of a map at an AXI4-Lite port."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.axi.axi_lite import AXI4Lite
from hdl.axi.axi_lite_port import AxiLitePort
from hdl.axi.register_layouts import any_of, at, clear_layout, field_layout, reset_values, written_layout
from hdl.spec.register_map import ADDRESS_WIDTH, DATA_WIDTH, Field, Group, Kind, Place, RegisterMap

__all__ = ["RegisterBank"]


class RegisterBank(wiring.Component):
    """The registers of a map, with ports by kind and field; docs/registers.md has the rules of an access.

    Stored fields and sticky bits are flip-flops with their reset values; values are read as they are in the cycle
    before the response's. ``stored``, ``sticky``, ``pulse`` and ``written`` change with a write's response. The words
    of an external group lie in a memory at a window port. Latency of an access:
    :attr:`hdl.axi.axi_lite_port.AxiLitePort.LATENCY`.

    Members
    -------
    bus : In(AXI4Lite(address_width=ADDRESS_WIDTH))
    stored : Out(field_layout(registers, Kind.STORED))
    pulse : Out(field_layout(registers, Kind.PULSE))      1 for a cycle where software has written 1
    written : Out(written_layout(registers))              1 for a cycle when a byte of the register was written
    value : In(field_layout(registers, Kind.VALUE))
    event : In(field_layout(registers, Kind.STICKY))      sets bits
    sticky : Out(field_layout(registers, Kind.STICKY))
    clear : In(clear_layout(registers))                   holds fields at their reset values
    word_* : Out(n)                                       of each external group: index of the word to read
    data_* : In(32)                                       it, in the next cycle
    """

    def __init__(self, registers: RegisterMap):
        self.registers = registers
        self.places = tuple(registers.places(external=False))
        self.windows = tuple(group for group in registers.groups if group.external)
        members = {
            "bus": In(AXI4Lite(address_width=ADDRESS_WIDTH)),
            "stored": Out(field_layout(registers, Kind.STORED), init=reset_values(registers)),
            "pulse": Out(field_layout(registers, Kind.PULSE)),
            "written": Out(written_layout(registers)),
            "value": In(field_layout(registers, Kind.VALUE)),
            "event": In(field_layout(registers, Kind.STICKY)),
            "sticky": Out(field_layout(registers, Kind.STICKY)),
            "clear": In(clear_layout(registers)),
        }
        for group in self.windows:
            members |= {
                f"word_{group.name}": Out(max(1, (group.words - 1).bit_length())),
                f"data_{group.name}": In(DATA_WIDTH),
            }
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.port = port = AxiLitePort(ADDRESS_WIDTH)
        wiring.connect(m, wiring.flipped(self.bus), port.bus)
        request, answer = port.request, port.answer
        write = Signal()  # the access of this cycle is a write
        m.d.sync += write.eq(request.write)
        readable, read, accepted = [], [], []
        for place in self.places:
            chosen = Signal(name=f"chosen_{_identifier(place)}")
            m.d.sync += chosen.eq(request.word == place.address // 4)
            if place.register.readable:
                readable.append(chosen)
                read.append(Mux(chosen, self._read(place), 0))
            if place.register.writable:
                good = chosen & ~self._refused(place, request)
                accepted.append(good)
                self._write(m, place, good & write, request)
        for group in self.windows:
            chosen, data = self._window(m, request, group)
            readable.append(chosen)
            read.append(Mux(chosen, data, 0))
        m.d.comb += [
            answer.error.eq(Mux(write, ~any_of(accepted), ~any_of(readable))),
            answer.data.eq(any_of(read)),
        ]
        return m

    def _read(self, place: Place):
        """The word that software reads."""
        parts, end = [], 0
        for field in filter(_has_bits, place.register.fields):
            parts += [Const(0, field.lsb - end), self._field(place, field)]
            end = field.lsb + field.width
        return Cat(*parts)

    def _field(self, place: Place, field: Field):
        if field.kind == Kind.CONSTANT:
            return Const(field.reset, field.width)
        if field.kind == Kind.PULSE:
            return Const(0, field.width)
        ports = {Kind.STORED: self.stored, Kind.VALUE: self.value, Kind.STICKY: self.sticky}
        return at(ports[field.kind], place)[field.name]

    def _refused(self, place: Place, request):
        """Whether a bit is 1 that the configuration lacks."""
        missing = [
            _written(request, field.lsb + field.width, field.cut) for field in place.register.fields if field.cut
        ]
        return Cat(*((word & enable).any() for word, enable in missing)).any()

    def _write(self, m, place: Place, take, request):
        """All that a write of the access of this cycle does, if ``take``."""
        register = place.register
        for field in filter(_has_bits, register.fields):
            word, enable = _written(request, field.lsb, field.width)
            ones = word & enable & take.replicate(field.width)
            if field.kind == Kind.STORED:
                self._store(m, place, field, take, request)
            elif field.kind == Kind.PULSE:
                m.d.sync += at(self.pulse, place)[field.name].eq(ones)
            elif field.kind == Kind.STICKY:
                bits = at(self.sticky, place)[field.name]
                m.d.sync += bits.eq((bits & ~ones) | at(self.event, place)[field.name])
        if register.strobe:
            m.d.sync += at(self.written, place).any.eq(take & request.strb.any())

    def _store(self, m, place: Place, field: Field, take, request):
        stored = at(self.stored, place)[field.name]
        for byte, strobe in enumerate(request.strb):
            first, end = max(field.lsb, 8 * byte), min(field.lsb + field.width, 8 * byte + 8)
            if first < end:
                with m.If(take & strobe):
                    m.d.sync += stored[first - field.lsb : end - field.lsb].eq(request.data[first:end])
        if field.hardware_clears:
            with m.If(at(self.clear, place)[field.name]):
                m.d.sync += stored.eq(field.reset)

    def _window(self, m, request, group: Group):
        """An external group: (whether the access of this cycle is to it, the word read)."""
        chosen = Signal(name=f"chosen_{group.name}")
        first = group.offset // 4
        m.d.sync += chosen.eq((request.word >= first) & (request.word < first + group.words))
        m.d.comb += getattr(self, f"word_{group.name}").eq(request.word - first)
        return chosen, getattr(self, f"data_{group.name}")


def _has_bits(field: Field) -> bool:
    return field.width > 0


def _written(request, lsb: int, width: int):
    """(Bits of the word that is written, whether the byte of each is)."""
    enables = Cat(*(bit.replicate(8) for bit in request.strb))
    return request.data[lsb : lsb + width], enables[lsb : lsb + width]


def _identifier(place: Place) -> str:
    return place.name.replace("[", "_").replace("].", "_")
