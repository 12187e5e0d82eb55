"""Schedules jobs on the datapath: loads, queries, recomputation, completion."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.control.completion import Completion
from hdl.control.context_table import ContextTable
from hdl.control.control_layouts import decision, events_of, look_up, read_row
from hdl.control.lsb_loader import LsbLoader
from hdl.control.queries.query_issuer import QueryIssuer
from hdl.control.queries.query_joiner import QueryJoiner
from hdl.control.regions.key_loader import KeyLoader
from hdl.control.regions.value_loader import ValueLoader
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import signed
from hdl.stream.stream_fork import StreamFork

__all__ = ["Controller"]


class Controller(wiring.Component):
    """Keeps up to ``config.contexts`` jobs in flight, and launches each step of them as soon as its resources are free.

    A job has a region of the K buffer from its load until its rows are final (not flat), in generation until the row
    has been read with all its bits or is known not to be flat; and a region of the V buffer until all of its V lines
    are accumulated. Contexts are taken, loaded and queried in the order of the jobs; second passes of flat rows go
    before first passes.

    Members
    -------
    job : In(stream.Signature(job_record))              checked jobs
    list_free : Out(2)                                  this id list, and the importance of tokens, may be written,
                                                        as of the cycle before
    accumulate : Out(contexts)                          the job adds to the importance of tokens and heads
    key, key_lsb, value, gather_command : Out(stream.Signature(fetch_command))
    key_lsb_done : In(1)                                pulses when the oldest outstanding LSB load completes
    query_request : Out(stream.Signature(query_request))
    query_elements : In(stream.Signature(elements))     Q rows in the order of the requests
    query : Out(stream.Signature(query_row))            to QKMultiply
    row : In(stream.Signature(started_row))             rows in the order in which QKMultiply took them
    softmax_row, prune_row : Out                        parameters of these rows
    gather_row : In(stream.Signature(row_tag))          generation: a row whose survivors follow
    row_read : In(stream.Signature(read_row, always_ready=True))     QKMultiply has read all keys of a row
    decided : In(stream.Signature(decision, always_ready=True))      a row's exp sum is known
    value_done : In(stream.Signature(row_tag, always_ready=True))    a row's V lines are accumulated
    values_commanded : Out(contexts)                    V of this context is being loaded or gathered,
    value_slot, value_seq : Out(contexts)               to this region
    output : In(stream.Signature(context, always_ready=True))        the last output beat of a row has left
    probs : In(stream.Signature(context, always_ready=True))         all final probabilities of a row have left
    record : Out(job_record).array(contexts)            the context table
    status : Out(stream.Signature(job_status))          completed jobs that the host gave
    layer_done : Out(1)                                 pulses when a job of the layer walker is complete
    active : Out(1)                                     a job is in flight
    """

    def __init__(self, config: Config):
        self.config = config
        command = Out(stream.Signature(payloads.fetch_command(config)))
        elements = data.ArrayLayout(signed(config.operand_width), config.max_dim)
        tag = payloads.row_tag(config)
        context = In(events_of(config.context_width))
        super().__init__(
            {
                "job": In(stream.Signature(payloads.job_record(config))),
                "list_free": Out(2),
                "accumulate": Out(config.contexts),
                **dict.fromkeys(("key", "key_lsb", "value", "gather_command"), command),
                "key_lsb_done": In(1),
                "query_request": Out(stream.Signature(payloads.query_request(config))),
                "query_elements": In(stream.Signature(elements)),
                "query": Out(stream.Signature(payloads.query_row(config))),
                "row": In(stream.Signature(payloads.started_row(config))),
                "softmax_row": Out(stream.Signature(payloads.softmax_row(config))),
                "prune_row": Out(stream.Signature(payloads.prune_row(config))),
                "gather_row": In(stream.Signature(tag)),
                "row_read": In(events_of(read_row(config))),
                "decided": In(events_of(decision(config))),
                "value_done": In(events_of(tag)),
                "values_commanded": Out(config.contexts),
                "value_slot": Out(config.slot_width).array(config.contexts),
                "value_seq": Out(config.seq_width).array(config.contexts),
                "output": context,
                "probs": context,
                "record": Out(payloads.job_record(config)).array(config.contexts),
                "status": Out(stream.Signature(payloads.job_status(config))),
                "layer_done": Out(1),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.table = table = ContextTable(config)
        m.submodules.keys = keys = KeyLoader(config)
        m.submodules.values = values = ValueLoader(config)
        m.submodules.lsbs = lsbs = LsbLoader(config)
        m.submodules.issuer = issuer = QueryIssuer(config)
        m.submodules.joiner = joiner = QueryJoiner(config)
        m.submodules.completion = completion = Completion(config)
        for block in (keys, values, lsbs, issuer, joiner, completion):
            m.d.comb += block.valid.eq(table.valid)
        for block in (self, lsbs, issuer, joiner, completion):
            m.d.comb += [port.eq(record) for port, record in zip(block.record, table.record, strict=True)]
        for event, blocks in (
            ("decided", (lsbs, issuer, joiner, completion)),
            ("row_read", (lsbs, completion)),
            *((name, (completion,)) for name in ("value_done", "output", "probs")),
        ):
            source = getattr(self, event)
            for port in (getattr(block, event) for block in blocks):
                m.d.comb += [port.payload.eq(source.payload), port.valid.eq(source.valid)]
        self._connect_jobs(m, table, completion)
        self._connect_loaders(m, table, keys, values, lsbs, completion)
        self._connect_queries(m, keys, values, lsbs, issuer, joiner, completion)
        self._describe_rows(m)
        return m

    def _connect_jobs(self, m, table, completion):
        """Jobs begin in the context table, and end with their answer."""
        connect(m, flipped(self.job), table.job)
        connect(m, completion.status, flipped(self.status))
        m.d.comb += [
            completion.next_rows.eq(self.job.payload.rows),
            completion.oldest.eq(table.oldest),
            table.end.eq(completion.end),
            self.layer_done.eq(completion.layer_done),
            *(getattr(self, name).eq(getattr(table, name)) for name in ("list_free", "accumulate", "active")),
        ]

    def _connect_loaders(self, m, table, keys, values, lsbs, completion):
        """K, its LSBs and V by their loaders; what they need to know of the contexts."""
        for port, block in ((self.key, keys), (self.key_lsb, lsbs), (self.value, values)):
            connect(m, block.command, flipped(port))
        connect(m, values.gather_command, flipped(self.gather_command))
        connect(m, flipped(self.gather_row), values.gather_row)
        for loader in (keys, values):
            m.d.comb += [look_up(loader.record, table.record, loader.context), loader.clear.eq(~table.valid)]
        m.d.comb += [
            # LSBs fetched ahead must not come into a region that has been given away.
            keys.final.eq(completion.keys_final & ~lsbs.busy),
            keys.paired.eq(Cat(record.pair == 1 for record in table.record)),
            values.generation.eq(Cat(record.generation for record in table.record)),
            values.keyed.eq(keys.keyed),
            values.done.eq(completion.values_done),
            lsbs.keys_final.eq(completion.keys_final),
            lsbs.done.eq(self.key_lsb_done),
            *(port.eq(slot) for port, slot in zip(lsbs.slot, keys.slot, strict=True)),
            completion.keys_released.eq(keys.released),
            completion.values_released.eq(values.released),
            self.values_commanded.eq(values.commanded),
            *(port.eq(slot) for port, slot in zip(self.value_slot, values.slot, strict=True)),
            *(port.eq(seq) for port, seq in zip(self.value_seq, values.seq, strict=True)),
        ]

    def _connect_queries(self, m, keys, values, lsbs, issuer, joiner, completion):
        """Rows are issued when K, V and LSBs allow it, and joined with their Q rows."""
        connect(m, issuer.issue, joiner.issue)
        connect(m, joiner.request, flipped(self.query_request))
        connect(m, flipped(self.query_elements), joiner.elements)
        connect(m, joiner.query, flipped(self.query))
        m.d.comb += [
            issuer.keyed.eq(keys.keyed),
            issuer.values_commanded.eq(values.commanded),
            issuer.settled.eq(completion.settled),
            *(port.eq(slot) for port, slot in zip(issuer.slot, keys.slot, strict=True)),
            *(port.eq(seq) for port, seq in zip(issuer.seq, keys.seq, strict=True)),
            *(block.lsb_loaded.eq(lsbs.loaded) for block in (issuer, joiner)),
        ]

    def _describe_rows(self, m):
        """Rows as QKMultiply took them, with the parameters that softmax and pruning need."""
        config = self.config
        m.submodules.row_fork = fork = StreamFork(payloads.started_row(config), num_outputs=2)
        connect(m, flipped(self.row), fork.i)
        for port, branch in ((self.softmax_row, fork.o[0]), (self.prune_row, fork.o[1])):
            m.d.comb += [
                port.valid.eq(branch.valid),
                branch.ready.eq(port.ready),
                port.payload.tag.eq(branch.payload.tag),
            ]
        tag = self.softmax_row.payload.tag
        record = Signal(payloads.job_record(config), name="row_record")
        softmax, prune = self.softmax_row.payload, self.prune_row.payload
        m.d.comb += [
            look_up(record, self.record, tag.context),
            softmax.scale.eq(record.scale),
            softmax.shift.eq(record.shift),
            softmax.flat_limit.eq(record.flat_limit),
            softmax.check.eq(record.progressive & ~tag.second),
            *(softmax[name].eq(record[name]) for name in payloads.chain_place(config)),
            prune.prune.eq(record.value_keep < fork.o[1].payload.length),
            prune.k.eq(record.value_keep),
            prune.gather.eq(record.generation),
            prune.log_slices.eq(record.log_slices),
            prune.dim.eq(record.dim),
        ]
