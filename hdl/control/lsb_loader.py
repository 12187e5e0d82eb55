"""Loads the LSB planes of K."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.control.control_layouts import decision, events_of, look_up, plane_fields_of, read_row
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.stream.stream_queue import StreamQueue

__all__ = ["LsbLoader"]


class LsbLoader(wiring.Component):
    """Loads the LSB plane of a job's K once, at its first flat row.

    In generation the heads of a layer are mostly flat together: if the last first pass was flat, the LSBs of the
    next one are fetched while softmax decides. Needed LSBs go first, then those of the lowest context. The command
    is on offer two cycles after the flat row is decided; initiation interval 2.

    Members
    -------
    valid : In(contexts)                            jobs in flight; a context is free for two cycles between two jobs
    record : In(job_record).array(contexts)         their records,
    slot : In(slot_width).array(contexts)           first slots of their K regions
    keys_final : In(contexts)                       K of this context is not read any more
    decided : In(stream.Signature(decision, always_ready=True))    a row's exp sum is known
    row_read : In(stream.Signature(read_row, always_ready=True))   QKMultiply has read all keys of a row
    command : Out(stream.Signature(fetch_command))
    done : In(1)                                    pulses when the oldest outstanding LSB load completes
    loaded : Out(contexts)                          the LSBs are on chip
    busy : Out(contexts)                            an LSB load is about to be commanded, or under way: the region must
                                                    not be given back
    """

    def __init__(self, config: Config):
        self.config = config
        contexts = config.contexts
        super().__init__(
            {
                "valid": In(contexts),
                "record": In(payloads.job_record(config)).array(contexts),
                "slot": In(config.slot_width).array(contexts),
                "keys_final": In(contexts),
                "decided": In(events_of(decision(config))),
                "row_read": In(events_of(read_row(config))),
                "command": Out(stream.Signature(payloads.fetch_command(config))),
                "done": In(1),
                "loaded": Out(contexts),
                "busy": Out(contexts),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        context = Signal(config.context_width)
        waits = Signal()  # the command waits
        offered, coming = Signal(config.contexts), Signal(config.contexts)  # about to be commanded; under way
        issued = Signal(config.contexts)
        m.d.sync += [flags.eq(flags & self.valid) for flags in (issued, self.loaded)]
        needed, ahead = self._wishes(m)
        wanted = (needed | ahead) & self.valid & ~issued
        first = wanted & needed
        candidates = Mux(first.any(), first, wanted)
        chosen = (candidates & (~candidates + 1))[: config.contexts]  # the lowest
        with m.If(~waits):
            m.d.sync += [waits.eq(wanted.any()), offered.eq(chosen)]
            for bit in range(config.context_width):
                m.d.sync += context[bit].eq(Cat(chosen[c] for c in range(config.contexts) if c >> bit & 1).any())
        m.submodules.loads = loads = StreamQueue(config.context_width, depth=4)
        m.d.comb += [
            *self._command(context),
            self.command.valid.eq(waits & loads.i.ready),
            loads.i.valid.eq(waits & self.command.ready),
            loads.i.payload.eq(context),
            loads.o.ready.eq(self.done),
            self.busy.eq(offered | coming),
        ]
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += [waits.eq(0), offered.eq(0)]
            m.d.sync += [flags.bit_select(context, 1).eq(1) for flags in (issued, coming)]
        with m.If(self.done):
            m.d.sync += self.loaded.bit_select(loads.o.payload, 1).eq(1)
            m.d.sync += coming.bit_select(loads.o.payload, 1).eq(0)
        return m

    def _wishes(self, m):
        """Contexts with a flat row, and those whose next row to be decided will be flat if it is like the last one."""
        contexts = self.config.contexts
        generation = Cat(record.generation for record in self.record)
        progressive = Cat(record.progressive for record in self.record)
        needed, read_once = Signal(contexts), Signal(contexts)  # read_once: the first pass has read all keys
        expected = Signal()  # the last first pass in generation was flat
        m.d.sync += [flags.eq(flags & self.valid) for flags in (needed, read_once)]
        decided, row_read = self.decided, self.row_read
        tag = decided.payload.tag
        with m.If(decided.valid & ~tag.second & (generation & progressive).bit_select(tag.context, 1)):
            m.d.sync += expected.eq(decided.payload.flat)
        with m.If(decided.valid & decided.payload.flat):
            m.d.sync += needed.bit_select(tag.context, 1).eq(1)
        with m.If(row_read.valid & generation.bit_select(row_read.payload.context, 1)):
            m.d.sync += read_once.bit_select(row_read.payload.context, 1).eq(1)
        return needed, read_once & progressive & ~self.keys_final & expected.replicate(contexts)

    def _command(self, context):
        """Assignments of the load of a context's LSB plane."""
        record = Signal(payloads.job_record(self.config))
        command = self.command.payload
        return [
            look_up(record, self.record, context),
            *plane_fields_of(command, record, "key_lsb"),
            command.plane.dim.eq(record.dim),
            command.slot.eq(Array(self.slot)[context]),
            command.count.eq(record.num_keys),
            command.repeat.eq(record.repeat),
        ]
