"""Makes the record of a job: its fields, and what follows from them."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS
from hdl.spec.widths import LOG_SLICES_WIDTH, lane_count

__all__ = ["JobRecorder"]


class JobRecorder(wiring.Component):
    """The record of a request; whether its lines pack is :meth:`hdl.spec.config_sizes.ConfigSizes.packs`.

    ``pack`` and ``repeat`` come two cycles after their fields, all else in the same cycle.

    Members
    -------
    request : In(job_request(config))
    log_slices : In(LOG_SLICES_WIDTH)    of a row
    rows : In(count_width)               of all query heads
    current : In(1)                      the current id list
    record : Out(job_record(config))
    """

    LATENCY = 2

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "request": In(payloads.job_request(config)),
                "log_slices": In(LOG_SLICES_WIDTH),
                "rows": In(config.count_width),
                "current": In(1),
                "record": Out(payloads.job_record(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        request, job, record = self.request, self.request.job, self.record
        packs, less = self._packs(m)
        pack, repeat = Signal(reset_less=True), Signal.like(record.repeat, reset_less=True)
        m.d.sync += [pack.eq(packs), repeat.eq(Mux(packs, less, 0))]
        m.d.comb += [
            record.pack.eq(pack),
            record.repeat.eq(repeat),
            record.list.eq(self.current ^ (job.list == payloads.LIST_NEW)),
            record.log_slices.eq(self.log_slices),
            record.layer.eq(request.layer),
            record.rows.eq(self.rows),
            record.listed.eq(job.list != payloads.LIST_DENSE),
            record.progressive.eq(job.key_lsb_bits == LSB_BITS),
        ]
        derived = {"pack", "repeat", "log_slices", "listed", "list", "progressive", "layer", "rows"}
        copied = set(record.shape().members) - derived
        m.d.comb += [record[name].eq(job[name]) for name in sorted(copied)]
        return m

    def _packs(self, m: Module):
        """Whether lines pack, and how many keys are repeated for it: one less than a line has."""
        config, job = self.config, self.request.job
        per_line = Signal(lane_count(config))
        m.d.comb += per_line.eq(1)
        for log in range(config.lanes.bit_length() - 1):
            with m.If(self.log_slices == log):
                m.d.comb += per_line.eq(config.lanes >> log)
        room, full, uneven = (Signal(name=name, reset_less=True) for name in ("room", "full", "uneven"))
        stored = Signal(config.count_width + 1, reset_less=True)
        m.d.sync += [
            stored.eq(job.num_keys + per_line - 1),
            room.eq((stored << self.log_slices) <= config.buffer_slots),
            full.eq(job.num_keys >= per_line),
            uneven.eq((job.num_keys & (per_line - 1)) != 0),
        ]
        return ~job.causal & ~job.generation & full & uneven & room & config.packing, per_line - 1
