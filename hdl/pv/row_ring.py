"""The row register of the Normalizer: each lane gives its elements for one beat after the other."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.pv.beat import finished_row, slice_elements
from hdl.pv.lane_reducer import GRANULE, OutputGeometry
from hdl.spec.config import Config

__all__ = ["RowRing"]


class RowRing(wiring.Component):
    """Holds a row of accumulators and gives ``norm_lanes`` elements of it a cycle, as terms for :class:`LaneReducer`.

    The elements of a slice go round, those of the next beat in front: no wide choice, and short wires. A row is held
    for ceil(D / norm_lanes) cycles; the next one may come in the last of them. Latency 2 from a row to the terms of its
    first beat, which are those of the facts a cycle before.

    Members
    -------
    i : In(stream.Signature(finished_row, always_ready=True))
    acc : In(signed(acc_width)).array(lanes, max_beats * slice)    as Normalizer; valid with ``i``
    moves : In(1)       the ring moves: in the cycle of ``i``, and while ``held``
    held : Out(1)       a beat of a row is in front
    last : Out(1)       it is the row's last
    facts : Out(finished_row)                          of the row
    gates : Out(lanes).array(num_groups)               as LaneReducer, a cycle after ``held``
    terms : Out(signed(acc_width)).array(lanes, width)
    """

    def __init__(self, config: Config):
        self.config = config
        self._geometry = OutputGeometry(config)
        term = signed(config.acc_width)
        super().__init__(
            {
                "i": In(stream.Signature(finished_row(config), always_ready=True)),
                "acc": In(term).array(config.lanes, config.max_beats * slice_elements(config)),
                "moves": In(1),
                "held": Out(1),
                "last": Out(1),
                "facts": Out(finished_row(config)),
                "gates": Out(config.lanes).array(self._geometry.num_groups),
                "terms": Out(term).array(config.lanes, self._geometry.width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, dim = self.config.norm_lanes, self.i.payload.dim
        beat = Signal(range(max(2, self.config.max_dim // lanes)), reset_less=True)
        left = Signal(8, reset_less=True)  # elements from this beat on
        facts, last = Signal(self.facts.shape(), name="row", reset_less=True), Signal(name="ends", reset_less=True)
        m.d.comb += [self.facts.eq(facts), self.last.eq(last)]
        with m.If(self.i.valid):
            m.d.sync += [self.held.eq(1), beat.eq(0), left.eq(dim), last.eq(dim <= lanes), facts.eq(self.i.payload)]
        with m.Elif(self.held):
            m.d.sync += [self.held.eq(~last), beat.eq(beat + 1), left.eq(left - lanes), last.eq(left <= 2 * lanes)]
        index, gates = self._place(beat, left, facts.log_slices)
        self._register(m, "gate", self.gates, gates)
        size = slice_elements(self.config)
        for b, accs in enumerate(self.acc):
            slices = [accs[t * size :][:size] for t in range(self.config.max_beats)]
            fronts = [self._go_round(m, f"row_{b}_{t}", part) for t, part in enumerate(slices)]
            terms = [Array(choice)[index] if len(fronts) > 1 else choice[0] for choice in zip(*fronts, strict=True)]
            self._register(m, f"term_{b}", self.terms[b], terms)
        return m

    def _register(self, m: Module, name: str, ports: list[Signal], values: list[Value]) -> None:
        """Registers of what the beat in front gives; they move only with a beat."""
        for j, (port, value) in enumerate(zip(ports, values, strict=True)):
            register = Signal(port.shape(), name=f"{name}_{j}", reset_less=True)
            m.d.comb += port.eq(register)
            with m.If(self.held):
                m.d.sync += register.eq(value)

    def _go_round(self, m: Module, name: str, accs: list[Value]) -> list[Signal]:
        """A register for each element of a slice, which takes that of ``width`` places on; the first ``width``."""
        width, shape = self._geometry.width, signed(self.config.acc_width)
        registers = [Signal(shape, name=f"{name}_{k}", reset_less=True) for k in range(len(accs))]
        with m.If(self.moves):
            m.d.sync += [
                register.eq(Mux(self.i.valid, acc, later))
                for register, acc, later in zip(registers, accs, registers[width:] + registers[:width], strict=True)
            ]
        return registers[:width]

    def _place(self, beat: Signal, left: Signal, log_slices: Value) -> tuple[Value, list[Value]]:
        """Of which of its slices a lane gives elements for a beat, and the lanes that count for each group of them."""
        config, geometry = self.config, self._geometry
        lane_bits = config.lanes.bit_length() - 1
        log_beats = (slice_elements(config) // geometry.width).bit_length() - 1  # beats of a slice
        log_parts = (config.norm_lanes // geometry.width).bit_length() - 1  # slices of a beat
        first = (beat >> log_beats) << log_parts  # slice of the beat's first element
        # Bits of a lane's number that tell its slice.
        spread = Cat(log_slices > k for k in range(lane_bits))
        gates = []
        for group in range(geometry.num_groups):
            start = group * geometry.group
            number = (first + start // geometry.width)[:lane_bits]
            real = left > start // GRANULE * GRANULE
            gates.append(Cat(real & (((b ^ number) & spread) == 0) for b in range(config.lanes)))
        return first[lane_bits:], gates
