"""End of prob×V: multiply a finished row by 1/Σe, once per output element."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.pv.beat import announced_row, finished_row, slice_elements
from hdl.pv.lane_reducer import LaneReducer
from hdl.pv.magnitude_sum import MagnitudeSum
from hdl.pv.part_fold import PartFold
from hdl.pv.row_admission import RowAdmission
from hdl.pv.row_ring import RowRing
from hdl.pv.scaler import Scaler
from hdl.spec.config import Config
from hdl.spec.payloads import output_beat
from hdl.stream.stream_queue import StreamQueue

__all__ = ["Normalizer"]


class Normalizer(wiring.Component):
    """Turn a row of accumulators into output elements, ``norm_lanes`` a cycle, and sum up their magnitudes.

    A :class:`RowRing` gives the elements of a beat, a :class:`LaneReducer` adds up those of lanes with the same slice,
    a :class:`Scaler` multiplies, and a :class:`MagnitudeSum` adds up the magnitudes. Where jobs can be chained, a
    :class:`PartFold` in front of the Scaler adds the sums of the jobs before, and keeps those that go on.

    Bit-exact with :func:`golden.datapath.integer.normalize` and :func:`golden.datapath.integer.abs_sum`. A row takes
    ceil(D / norm_lanes) cycles; the next one may come in the last of them. Latency :attr:`latency` cycles from a row to
    its first beat. Paper section IV-E, normalized last.

    Nothing in here or before it ever stalls: a row is announced ``delay`` cycles before it comes, and only if the
    row register will be free by then and all its beats have a place in the output queue. ``announce.ready`` is a
    flip-flop.

    Members
    -------
    announce : In(stream.Signature(announced_row)) a row that comes exactly ``delay`` cycles after the transfer
    i : In(stream.Signature(finished_row, always_ready=True))
    acc : In(signed(acc_width)).array(lanes, max_beats * slice)
        Σ e·V of the row, Q.16, by lane, then by beat of a line and element of a slice; valid with ``i``
    o : Out(stream.Signature(output_beat))         the last beat has ``last`` and ``abs_sum``; elements >= D are 0
    busy : Out(1)                                  a row is inside
    """

    def __init__(self, config: Config, *, delay: int = 4):
        if not isinstance(delay, int) or delay < 1:
            raise ValueError(f"delay must be a positive integer, not {delay!r}")
        self.config = config
        self.delay = delay
        super().__init__(
            {
                "announce": In(stream.Signature(announced_row(config))),
                "i": In(stream.Signature(finished_row(config), always_ready=True)),
                "acc": In(signed(config.acc_width)).array(config.lanes, config.max_beats * slice_elements(config)),
                "o": Out(stream.Signature(output_beat(config))),
                "busy": Out(1),
            }
        )

    @staticmethod
    def latency_of(config: Config) -> int:
        """Cycles from a row to its first beat: the row register, its elements, lanes, and the queue."""
        gathered = 1 + LaneReducer.latency_of(config) + (PartFold.LATENCY if config.chained else 0)
        return 1 + gathered + Scaler.LATENCY + MagnitudeSum.latency_of(config) + 2

    @property
    def latency(self) -> int:
        return self.latency_of(self.config)

    @property
    def _places(self) -> int:
        """Beats that are announced and not taken, at full rate: a row, and those on their way to ``o`` and back."""
        return self.config.max_dim // self.config.norm_lanes + self.delay + self.latency + 6

    def elaborate(self, platform):
        m = Module()
        m.submodules.admission = admission = RowAdmission(self.config, delay=self.delay, places=self._places)
        m.submodules.ring = ring = RowRing(self.config)
        m.submodules.reducer = reducer = LaneReducer(self.config)
        m.submodules.scaler = scaler = Scaler(self.config)
        m.submodules.magnitude = magnitude = MagnitudeSum(self.config)
        m.submodules.queue = queue = StreamQueue(output_beat(self.config), depth=self._places)
        wiring.connect(m, wiring.flipped(self.announce), admission.announce)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        self._connect_ring(m, admission, ring)
        reduced = 1 + reducer.latency
        gathered = reduced + (PartFold.LATENCY if self.config.chained else 0)
        stages = gathered + scaler.LATENCY + magnitude.latency
        valid = self._delay(m, "valid", ring.held, gathered, reset_less=False)
        facts = self._delay(m, "facts", ring.facts, stages)
        last = self._delay(m, "last", ring.last, stages)
        summed, sums = valid[gathered], list(reducer.o)
        if self.config.chained:
            summed, sums = self._fold(m, sums, valid[reduced], facts[reduced], last[reduced])
        m.d.comb += [
            reducer.valid.eq(valid[1]),
            *(port.eq(gate) for port, gate in zip(reducer.gates, ring.gates, strict=True)),
            *(port.eq(x) for ports, lane in zip(reducer.terms, ring.terms, strict=True)
              for port, x in zip(ports, lane, strict=True)),
            scaler.valid.eq(summed),
            scaler.recip.eq(facts[gathered].recip),
            scaler.pe.eq(facts[gathered].pe),
            *(port.eq(total) for port, total in zip(scaler.accs, sums, strict=True)),
            magnitude.valid.eq(scaler.o_valid),
            *(port.eq(value) for port, value in zip(magnitude.values, scaler.values, strict=True)),
            self.busy.eq(Cat(valid).any() | scaler.busy | magnitude.busy | (queue.level != 0)),
        ]  # fmt: skip
        self._emit(m, queue, magnitude, facts[-1].tag, last[-1])
        return m

    def _fold(self, m: Module, sums, valid: Value, facts: Value, last: Value) -> tuple[Value, list[Value]]:
        """Sums join those of their chain before they are scaled: whether a row has an output, and what is scaled."""
        m.submodules.fold = fold = PartFold(self.config)
        m.d.comb += [
            fold.valid.eq(valid),
            fold.facts.eq(facts),
            fold.last.eq(last),
            *(port.eq(total) for port, total in zip(fold.accs, sums, strict=True)),
        ]
        return fold.o_valid, list(fold.o)

    def _connect_ring(self, m: Module, admission: RowAdmission, ring: RowRing) -> None:
        m.d.comb += [
            admission.held.eq(ring.held),
            admission.leave.eq(self.o.valid & self.o.ready),
            ring.moves.eq(admission.moves),
            ring.i.valid.eq(self.i.valid),
            ring.i.payload.eq(self.i.payload),
            *(port.eq(acc) for ports, lane in zip(ring.acc, self.acc, strict=True)
              for port, acc in zip(ports, lane, strict=True)),
        ]  # fmt: skip

    @staticmethod
    def _delay(m: Module, name: str, value: Value, count: int, *, reset_less: bool = True) -> list:
        """``value`` and its copies 1…count cycles later."""
        values: list = [value]
        for stage in range(1, count + 1):
            values.append(Signal(value.shape(), name=f"{name}_{stage}", reset_less=reset_less))
            m.d.sync += values[-1].eq(values[-2])
        return values

    def _emit(self, m: Module, queue: StreamQueue, magnitude: MagnitudeSum, tag: Value, last: Value) -> None:
        """Beats to the queue, with the sum of the row's magnitudes so far."""
        total = Signal(self.config.abs_sum_width, reset_less=True)
        partial = Signal()  # the row's first beat has gone
        out = queue.i.payload
        m.d.comb += [
            queue.i.valid.eq(magnitude.o_valid),
            out.tag.eq(tag),
            out.last.eq(last),
            out.abs_sum.eq(Mux(partial, total, 0) + magnitude.total),
            *(out.values[j].eq(value) for j, value in enumerate(magnitude.o_values)),
        ]
        with m.If(magnitude.o_valid):
            m.d.sync += [total.eq(out.abs_sum), partial.eq(~last)]
