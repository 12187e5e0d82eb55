"""Schedules jobs on the datapath: loads, queries, recomputation, completion."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.control.key_loader import KeyLoader, plane_fields_of
from hdl.control.value_loader import ValueLoader
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import signed
from hdl.stream.stream_fork import StreamFork
from hdl.stream.stream_queue import StreamQueue

__all__ = ["Controller"]


def _query_meta(config: Config) -> data.StructLayout:
    """What a query_row says besides its elements."""
    members = dict(payloads.query_row(config).members)
    del members["elements"]
    return data.StructLayout(members)


def _query_issue(config: Config) -> data.StructLayout:
    return data.StructLayout({"request": payloads.query_request(config), "meta": _query_meta(config)})


def _row_index(config: Config) -> data.StructLayout:
    return data.StructLayout(
        {"context": config.context_width, "query": config.position_width, "group": config.group_width}
    )


def _row_choice(config: Config) -> data.StructLayout:
    return data.StructLayout({**_row_index(config).members, "second": 1})


def _known_query(config: Config) -> data.StructLayout:
    """A chosen row with what its job's record says of it."""
    meta = _query_meta(config).members
    return data.StructLayout(
        {
            "row": _row_choice(config),
            "plane": payloads.plane(config),
            **{name: meta[name] for name in ("log_slices", "pack", "slot", "seq", "low")},
            "causal": 1,
            "num_keys": config.count_width,
            "keys_before": config.count_width,  # causal: keys that no query of the job is behind
            "first_row": data.ArrayLayout(config.position_width, 2),  # of the same query head; their sum
        }
    )


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
    key_lsb_done : In(1)                                pulse: the oldest LSB load not told yet is complete
    query_request : Out(stream.Signature(query_request))
    query_elements : In(stream.Signature(elements))     Q rows in the order of the requests
    query : Out(stream.Signature(query_row))            to QKMultiply
    row : In(stream.Signature(started_row))             rows in the order in which QKMultiply took them
    softmax_row, prune_row : Out                        parameters of these rows
    gather_row : In(stream.Signature(row_tag))          generation: a row whose survivors follow
    row_read, row_read_context, row_read_low : In       QKMultiply has read all keys of a row (with all their bits)
    decided, decided_tag, decided_flat : In             a row's exp sum is known
    value_done, value_done_tag : In                     a row's V lines are accumulated
    values_commanded : Out(contexts)                    V of this context is being loaded or gathered,
    value_slot, value_seq : Out(contexts)               to this region
    output : In(1), output_context : In(n)              the last output beat of a row has left
    probs : In(1), probs_context : In(n)                all final probabilities of a row have left
    record : Out(job_record).array(contexts)            the context table
    status : Out(stream.Signature(job_status))          completed jobs that the host gave
    layer_done : Out(1)                                 pulse: a job of the layer walker is complete
    active : Out(1)                                     a job is in flight
    """

    REDO_DEPTH = 128
    """Rows of first passes whose second pass is possible or due."""

    def __init__(self, config: Config):
        self.config = config
        command = Out(stream.Signature(payloads.fetch_command(config)))
        elements = data.ArrayLayout(signed(config.operand_width), config.max_dim)
        tag = payloads.row_tag(config)
        super().__init__(
            {
                "job": In(stream.Signature(payloads.job_record(config))),
                "list_free": Out(2),
                "accumulate": Out(config.contexts),
                "key": command,
                "key_lsb": command,
                "value": command,
                "gather_command": command,
                "key_lsb_done": In(1),
                "query_request": Out(stream.Signature(payloads.query_request(config))),
                "query_elements": In(stream.Signature(elements)),
                "query": Out(stream.Signature(payloads.query_row(config))),
                "row": In(stream.Signature(payloads.started_row(config))),
                "softmax_row": Out(stream.Signature(payloads.softmax_row(config))),
                "prune_row": Out(stream.Signature(payloads.prune_row(config))),
                "gather_row": In(stream.Signature(tag)),
                "row_read": In(1),
                "row_read_context": In(config.context_width),
                "row_read_low": In(1),
                "decided": In(1),
                "decided_tag": In(tag),
                "decided_flat": In(1),
                "value_done": In(1),
                "value_done_tag": In(tag),
                "values_commanded": Out(config.contexts),
                "value_slot": Out(config.slot_width).array(config.contexts),
                "value_seq": Out(config.seq_width).array(config.contexts),
                "output": In(1),
                "output_context": In(config.context_width),
                "probs": In(1),
                "probs_context": In(config.context_width),
                "record": Out(payloads.job_record(config)).array(config.contexts),
                "status": Out(stream.Signature(payloads.job_status(config))),
                "layer_done": Out(1),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        contexts = range(self.config.contexts)
        m.submodules.keys = self._keys = KeyLoader(self.config)
        m.submodules.values = self._values = ValueLoader(self.config)
        self._words = Array(Value.cast(record) for record in self.record)
        self._valid = Signal(self.config.contexts)
        self._generation = Cat(record.generation for record in self.record)
        self._head = Signal(self.config.context_width)  # oldest context
        self._keys_final = Signal(self.config.contexts)  # K is not read any more
        self._values_done = Signal(self.config.contexts)  # V is not read any more
        self._lsb_needed = Signal(self.config.contexts)
        self._lsb_issued = Signal(self.config.contexts)
        self._lsb_loaded = Signal(self.config.contexts)
        self._lsb_offered = Signal(self.config.contexts)  # an LSB load is about to be commanded,
        self._lsb_coming = Signal(self.config.contexts)  # is under way
        self._read_once = Signal(self.config.contexts)  # generation: the first pass has read all keys
        self._redo_kept = Signal(self.config.contexts)  # generation: the row is flat, and to be computed again
        self._asked = Signal(self.config.contexts)  # first passes of all queries issued
        self._allocate(m)
        self._load_planes(m)
        self._load_lsbs(m)
        self._issue_queries(m)
        self._join_queries(m)
        self._describe_rows(m)
        self._count_rows(m)
        for index in range(2):
            uses = Cat(self._valid[c] & self.record[c].listed & (self.record[c].list == index) for c in contexts)
            m.d.sync += self.list_free[index].eq(~uses.any() & ~self.accumulate.any())
        m.d.comb += self.accumulate.eq(self._valid & Cat(record.accumulate for record in self.record))
        m.d.comb += self.active.eq(self._valid.any())
        return m

    def _allocate(self, m):
        """A new job takes the next context, when the job that had it is complete."""
        tail = Signal(self.config.context_width)
        room = Signal()
        m.d.comb += self.job.ready.eq(room)
        m.d.sync += room.eq(~self._valid.bit_select(tail, 1))
        with m.If(self.job.valid & self.job.ready):
            m.d.sync += [tail.eq(tail + 1), room.eq(0)]
            for index, record in enumerate(self.record):
                with m.If(tail == index):
                    m.d.sync += [record.eq(self.job.payload), self._valid[index].eq(1)]
        for index in range(self.config.contexts):
            with m.If(~self._valid[index]):  # for two cycles at least
                for flags in (
                    self._keys_final,
                    self._values_done,
                    self._lsb_needed,
                    self._lsb_issued,
                    self._lsb_loaded,
                    self._read_once,
                    self._asked,
                    self._redo_kept,
                ):
                    m.d.sync += flags[index].eq(0)

    def _lookup(self, record, context):
        return Value.cast(record).eq(self._words[context])

    def _load_planes(self, m):
        """K and V by their loaders; what they need to know of the contexts."""
        keys, values = self._keys, self._values
        wiring.connect(m, keys.command, wiring.flipped(self.key))
        wiring.connect(m, values.command, wiring.flipped(self.value))
        wiring.connect(m, values.gather_command, wiring.flipped(self.gather_command))
        wiring.connect(m, wiring.flipped(self.gather_row), values.gather_row)
        m.d.comb += [
            self._lookup(keys.record, keys.context),
            keys.valid.eq(self._valid),
            keys.clear.eq(~self._valid),
            # LSBs fetched ahead must not come into a region that has been given away.
            keys.final.eq(self._keys_final & ~self._lsb_offered & ~self._lsb_coming),
            keys.paired.eq(Cat(record.pair == 1 for record in self.record)),
            self._lookup(values.record, values.context),
            values.valid.eq(self._valid),
            values.generation.eq(self._generation),
            values.keyed.eq(keys.keyed),
            values.clear.eq(~self._valid),
            values.done.eq(self._values_done),
            self.values_commanded.eq(values.commanded),
            *(self.value_slot[c].eq(slot) for c, slot in enumerate(values.slot)),
            *(self.value_seq[c].eq(seq) for c, seq in enumerate(values.seq)),
        ]

    def _load_lsbs(self, m):
        """The LSB plane of a job is fetched once, at its first flat row.

        In generation the heads of a layer are mostly flat together: if the last first pass was flat, the LSBs of the
        next one are fetched while softmax decides. Needed LSBs go first.
        """
        config = self.config
        context = Signal(config.context_width)
        expected = Signal()  # the last first pass in generation was flat
        progressive = Cat(record.progressive for record in self.record)
        tag = self.decided_tag
        first = self.decided & ~tag.second & (self._generation & progressive).bit_select(tag.context, 1)
        with m.If(first):
            m.d.sync += expected.eq(self.decided_flat)
        ahead = self._read_once & progressive & ~self._keys_final & expected.replicate(config.contexts)
        wanted = (self._lsb_needed | ahead) & self._valid & ~self._lsb_issued
        offered = Signal()
        needed = wanted & self._lsb_needed
        candidates = Mux(needed.any(), needed, wanted)
        chosen = (candidates & (~candidates + 1))[: config.contexts]  # the lowest
        record = Signal(payloads.job_record(config), name="key_lsb_record")
        m.submodules.lsb_loads = loads = StreamQueue(config.context_width, depth=4)
        with m.If(~offered):
            m.d.sync += [offered.eq(wanted.any()), self._lsb_offered.eq(chosen)]
            for bit in range(config.context_width):
                m.d.sync += context[bit].eq(Cat(chosen[c] for c in range(config.contexts) if c >> bit & 1).any())
        command = self.key_lsb.payload
        m.d.comb += [
            self._lookup(record, context),
            *plane_fields_of(command, record, "key_lsb"),
            command.plane.dim.eq(record.dim),
            command.slot.eq(Array(self._keys.slot)[context]),
            command.count.eq(record.num_keys),
            command.repeat.eq(record.repeat),
            self.key_lsb.valid.eq(offered & loads.i.ready),
            loads.i.valid.eq(offered & self.key_lsb.ready),
            loads.i.payload.eq(context),
            loads.o.ready.eq(self.key_lsb_done),
        ]
        with m.If(self.key_lsb.valid & self.key_lsb.ready):
            m.d.sync += [offered.eq(0), self._lsb_offered.eq(0)]
            m.d.sync += [flags.bit_select(context, 1).eq(1) for flags in (self._lsb_issued, self._lsb_coming)]
        with m.If(self.key_lsb_done):
            m.d.sync += self._lsb_loaded.bit_select(loads.o.payload, 1).eq(1)
            m.d.sync += self._lsb_coming.bit_select(loads.o.payload, 1).eq(0)

    def _issue_queries(self, m):
        """Requests Q rows: flat rows again, once their LSBs are on chip, before first passes in order.

        A row is chosen in one cycle, its record looked up in the next, and its length summed on the way to the queue.
        """
        config = self.config
        self._redo = m.submodules.redo = StreamQueue(_row_index(config), depth=self.REDO_DEPTH)
        self._issue = m.submodules.issue = StreamQueue(_query_issue(config), depth=3)
        moves = self._issue.i.ready
        chosen, known = Signal(), Signal()
        choice = Signal(_row_choice(config), reset_less=True)
        query = Signal(_known_query(config), reset_less=True)
        self._choose_row(m, moves, chosen, choice)
        self._look_up_row(m, moves, choice, query)
        with m.If(moves):
            m.d.sync += known.eq(chosen)
        issue = self._issue.i
        causal_length = query.keys_before + query.row.query + 1 - query.first_row[0] - query.first_row[1]
        m.d.comb += [
            issue.valid.eq(known),
            issue.payload.request.plane.eq(query.plane),
            issue.payload.request.row.eq(query.row.query),
            *(issue.payload.meta[name].eq(query[name]) for name in ("log_slices", "pack", "slot", "seq", "low")),
            *(issue.payload.meta.tag[name].eq(query.row[name]) for name in ("context", "query", "group", "second")),
            issue.payload.meta.length.eq(Mux(query.causal, causal_length, query.num_keys)),
        ]

    def _choose_row(self, m, moves, chosen, choice):
        """Second passes go first; a cycle lies between the last row of a job and the first of the next."""
        config = self.config
        pointer = Signal(config.context_width)
        row = Signal(config.count_width)  # of the job
        query, group = Signal(config.count_width), Signal(config.group_width)  # the same as query of a head
        last_query, before_last = Signal.like(query, reset_less=True), Signal.like(row, reset_less=True)  # query, row
        opens, ends = Signal(init=1), Signal(reset_less=True)  # the row is the first, the last of the job
        moved = Signal()  # ``pointer`` has just moved on: what is known of its job is of the one before
        redo = self._redo.o
        second, first = Signal(), Signal()
        may_ask = self._may_ask(m, pointer, first, opens)
        m.d.comb += [
            second.eq(redo.valid & self._lsb_loaded.bit_select(redo.payload.context, 1)),
            first.eq(moves & ~second & may_ask & ~moved),
            redo.ready.eq(second & moves),
        ]
        with m.If(moves):
            m.d.sync += [
                chosen.eq(second | (may_ask & ~moved)),
                choice.second.eq(second),
                choice.context.eq(Mux(second, redo.payload.context, pointer)),
                choice.query.eq(Mux(second, redo.payload.query, row)),
                choice.group.eq(Mux(second, redo.payload.group, group)),
            ]
        record = Signal(payloads.job_record(config), name="asking_record")
        m.d.comb += self._lookup(record, pointer)
        m.d.sync += [moved.eq(0), before_last.eq(record.rows - 2), last_query.eq(record.num_queries - 1)]
        with m.If(opens):
            m.d.sync += ends.eq(record.rows == 1)
        with m.If(first):
            m.d.sync += [row.eq(row + 1), query.eq(query + 1), opens.eq(ends), ends.eq(row == before_last)]
            with m.If(query == last_query):
                m.d.sync += [query.eq(0), group.eq(group + 1)]
            with m.If(ends):
                m.d.sync += [row.eq(0), query.eq(0), group.eq(0)]
                m.d.sync += [self._asked.bit_select(pointer, 1).eq(1), pointer.eq(pointer + 1), moved.eq(1)]

    def _may_ask(self, m, pointer, asked, opens):
        """Whether the next first pass of context ``pointer`` might be issued in the cycle before; ``asked``: one is,
        which is its job's first if ``opens``.

        A row in flight must never wait for a buffer that a row behind it holds: K is given in order; a summarization
        job's V is given before its first query; a generation row, whose region comes later, waits until all rows of
        older summarization jobs are final, second passes too. And every row that can turn out flat has a place in
        the queue of second passes.
        """
        progressive = Cat(record.progressive for record in self.record)
        generation = self._generation.bit_select(pointer, 1)
        unsettled = Signal(range(self.REDO_DEPTH + 1))  # rows that are, or may turn out, flat
        open_jobs = Signal(range(self.config.contexts + 1))  # summarization jobs with rows that are not final
        tag = self.decided_tag
        counts = ~self._generation & progressive
        # Events count one cycle late, so three rows may have been asked for that ``room`` does not know of.
        risks, settled, done, opened, room = Signal(), Signal(), Signal(), Signal(), Signal()
        risky = counts.bit_select(pointer, 1)
        self._settled_jobs = Signal()  # all rows of a summarization job are final (at most one a cycle)
        m.d.sync += [
            risks.eq(asked & risky),
            settled.eq(self.decided & ~self.decided_flat & ~tag.second & counts.bit_select(tag.context, 1)),
            done.eq(self._redo.o.valid & self._redo.o.ready),
            opened.eq(asked & opens & ~generation),
            unsettled.eq(unsettled + risks - settled - done),
            open_jobs.eq(open_jobs + opened - self._settled_jobs),
            room.eq(unsettled < self.REDO_DEPTH - 3),
        ]
        may_ask, every = Signal(), self.config.contexts
        alone = ((open_jobs == 0) & ~opened).replicate(every)
        given = self._values.commanded & (~progressive | room.replicate(every))
        free = self._valid & self._keys.keyed & ~self._asked
        allowed = (self._generation & alone) | (~self._generation & given)
        m.d.sync += may_ask.eq((free & allowed).bit_select(pointer, 1))
        return may_ask

    def _look_up_row(self, m, moves, choice, query):
        """What the tables of the contexts know of the chosen row."""
        record = Signal(payloads.job_record(self.config), name="query_record")
        m.d.comb += self._lookup(record, choice.context)
        with m.If(moves):
            m.d.sync += [
                query.row.eq(choice),
                query.plane.base.eq(record.query_base),
                query.plane.width.eq(record.query_bits),
                query.plane.dim.eq(record.dim),
                query.plane.log_slices.eq(record.log_slices),
                query.plane.skew.eq(record.skew),
                query.log_slices.eq(record.log_slices),
                query.pack.eq(record.pack),
                query.slot.eq(Array(self._keys.slot)[choice.context]),
                query.seq.eq(Array(self._keys.seq)[choice.context]),
                query.low.eq(~record.progressive | choice.second),
                query.causal.eq(record.causal),
                query.num_keys.eq(record.num_keys),
                query.keys_before.eq(record.num_keys - record.num_queries),
                query.first_row[0].eq(self._first_row(record, choice.group[:2])),
                query.first_row[1].eq(self._first_row(record, choice.group[2:]) << 2),
            ]

    def _first_row(self, record, place):
        """Row of the job at which the queries of a group's head begin; no multiplier for so few bits."""
        return sum((Mux(bit, record.num_queries << i, 0) for i, bit in enumerate(place)), start=Const(0))

    def _join_queries(self, m):
        """Sends each issue to the fetcher, and joins the Q row that comes back with what is known of it."""
        config = self.config
        m.submodules.fork = fork = StreamFork(_query_issue(config), num_outputs=2)
        m.submodules.meta = meta = StreamQueue(_query_meta(config), depth=config.query_queue + 4)
        wiring.connect(m, self._issue.o, fork.i)
        m.d.comb += [
            self.query_request.payload.eq(fork.o[0].payload.request),
            self.query_request.valid.eq(fork.o[0].valid),
            fork.o[0].ready.eq(self.query_request.ready),
            meta.i.payload.eq(fork.o[1].payload.meta),
            meta.i.valid.eq(fork.o[1].valid),
            fork.o[1].ready.eq(meta.i.ready),
        ]
        fetched = self.query_elements.valid & meta.o.valid
        offer, kept = self._keep_queries(m, fetched & self.query.ready)
        row = self.query.payload
        m.d.comb += [row[name].eq(meta.o.payload[name]) for name in _query_meta(config).members]
        m.d.comb += [
            row.elements.eq(self.query_elements.payload),
            self.query.valid.eq(fetched | offer),
            self.query_elements.ready.eq(self.query.ready & fetched & ~offer),
            meta.o.ready.eq(self.query.ready & fetched & ~offer),
        ]
        with m.If(offer):
            m.d.comb += Value.cast(row).eq(kept)

    def _keep_queries(self, m, taken):
        """Keeps the Q row of each generation job, and offers it again when it turned out flat and its LSBs are loaded.

        It must not come by the fetcher: there the next job's Q row may be in front of it, waiting for this row to end.
        ``taken``: a fetched row goes to QKMultiply unless one is offered. Returns (offered, the row).
        """
        config = self.config
        shape = payloads.query_row(config)
        m.submodules.kept = memory = Memory(shape=Shape.cast(shape).width, depth=config.contexts, init=[])
        write, read = memory.write_port(), memory.read_port()
        row = Signal(shape)
        context = Signal(self.config.context_width)
        loaded = self._redo_kept & self._lsb_loaded
        fetched = self.query.payload
        offer = Signal()
        m.d.comb += [
            write.addr.eq(fetched.tag.context),
            write.data.eq(Value.cast(fetched)),
            write.en.eq(taken & ~offer),
            read.addr.eq(context),
            Value.cast(row).eq(read.data),
        ]
        kept = Signal(shape)
        m.d.comb += [kept.eq(row), kept.tag.second.eq(1), kept.low.eq(1)]
        with m.FSM():
            with m.State("IDLE"):
                for index in range(config.contexts):
                    with m.If(loaded[index]):
                        m.d.sync += context.eq(index)
                        m.next = "READ"
            with m.State("READ"):
                m.next = "WAIT"
            with m.State("WAIT"):
                # Not while a fetched row is offered and not taken: what is offered must not change.
                with m.If(~self.query.valid | self.query.ready):
                    m.d.sync += offer.eq(1)
                    m.next = "OFFER"
            with m.State("OFFER"):
                with m.If(self.query.ready):
                    m.d.sync += [offer.eq(0), self._redo_kept.bit_select(context, 1).eq(0)]
                    m.next = "IDLE"
        return offer, Value.cast(kept)

    def _describe_rows(self, m):
        """Rows as QKMultiply took them, with the parameters that softmax and pruning need."""
        config = self.config
        m.submodules.row_fork = fork = StreamFork(payloads.started_row(config), num_outputs=2)
        wiring.connect(m, wiring.flipped(self.row), fork.i)
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
            self._lookup(record, tag.context),
            softmax.scale.eq(record.scale),
            softmax.shift.eq(record.shift),
            softmax.flat_limit.eq(record.flat_limit),
            softmax.check.eq(record.progressive & ~tag.second),
            prune.prune.eq(record.value_keep < fork.o[1].payload.length),
            prune.k.eq(record.value_keep),
            prune.gather.eq(record.generation),
            prune.log_slices.eq(record.log_slices),
            prune.dim.eq(record.dim),
        ]

    def _count_rows(self, m):
        """Counts the rows of each context through the stages; releases buffers, and answers complete jobs."""
        config = self.config
        redo = self._redo.i
        generation = self._generation.bit_select(self.decided_tag.context, 1)
        with m.If(self.row_read & self._generation.bit_select(self.row_read_context, 1)):
            m.d.sync += self._read_once.bit_select(self.row_read_context, 1).eq(1)
            with m.If(self.row_read_low):
                m.d.sync += self._keys_final.bit_select(self.row_read_context, 1).eq(1)
        with m.If(self.decided & self.decided_flat & generation):
            m.d.sync += self._redo_kept.bit_select(self.decided_tag.context, 1).eq(1)
        m.d.sync += [
            redo.valid.eq(self.decided & self.decided_flat & ~generation),
            redo.payload.context.eq(self.decided_tag.context),
            redo.payload.query.eq(self.decided_tag.query),
            redo.payload.group.eq(self.decided_tag.group),
        ]
        complete = Signal(config.contexts)
        settled = Signal(config.contexts)
        m.d.comb += self._settled_jobs.eq(settled.any())
        for index, record in enumerate(self.record):
            final, outputs, probs = (
                Signal(config.count_width, name=f"{what}_{index}") for what in ("final", "outputs", "probs")
            )
            undone = Signal(config.count_width + 1, name=f"undone_{index}")  # rows whose V lines are to come
            decided = self.decided & (self.decided_tag.context == index)
            value_done = self.value_done & (self.value_done_tag.context == index)
            again = Signal(name=f"again_{index}")  # a dropped row is done as well
            m.d.sync += [
                again.eq(decided & self.decided_flat & ~record.generation),
                final.eq(final + (decided & ~self.decided_flat)),
                undone.eq(undone + again - value_done),
                outputs.eq(outputs + (self.output & (self.output_context == index))),
                probs.eq(probs + (self.probs & (self.probs_context == index))),
            ]
            with m.If(decided & self.decided_flat):
                m.d.sync += self._lsb_needed[index].eq(1)
            all_final, all_out, all_probs = (
                Signal(name=f"all_{what}_{index}") for what in ("final", "outputs", "probs")
            )
            m.d.sync += [
                all_final.eq(final == record.rows),
                all_out.eq(outputs == record.rows),
                all_probs.eq(probs == record.rows),
                settled[index].eq(0),
            ]
            with m.If(self._valid[index]):
                with m.If(final == record.rows):
                    m.d.sync += self._keys_final[index].eq(1)
                    m.d.sync += settled[index].eq(~self._keys_final[index] & ~record.generation)
                # A new job's ``undone`` is not 0, so what ``all_final`` says of the last one does not matter.
                with m.If(all_final & (undone == 0)):
                    m.d.sync += self._values_done[index].eq(1)
            m.d.comb += complete[index].eq(
                (self._valid & self._keys.released & self._values.released)[index] & all_out & all_probs
            )
            with m.If(~self._valid[index]):
                m.d.sync += [final.eq(0), outputs.eq(0), probs.eq(0), undone.eq(self.job.payload.rows)]
        self._answer(m, complete)

    def _answer(self, m, complete):
        """The oldest job's answer, in a register, and its end."""
        head, status = self._head, self.status
        oldest = Signal(payloads.job_record(self.config), name="oldest")
        answered = self.layer_done | (status.valid & status.ready)
        m.d.comb += [self._lookup(oldest, head), status.payload.code.eq(payloads.OK)]
        with m.If(answered):
            m.d.sync += [head.eq(head + 1), self._valid.bit_select(head, 1).eq(0)]
            m.d.sync += [status.valid.eq(0), self.layer_done.eq(0)]
        with m.Elif(~status.valid):
            finished = complete.bit_select(head, 1)
            m.d.sync += [
                status.valid.eq(finished & ~oldest.layer),
                self.layer_done.eq(finished & oldest.layer),
                status.payload.job_id.eq(oldest.job_id),
            ]
