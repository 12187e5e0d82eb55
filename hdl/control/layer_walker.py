"""Walks the heads of a layer by itself, then has the cascade selection made."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.cascade.head_importance import head_slot
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS
from hdl.spec.widths import bits_for_count

__all__ = ["LayerWalker"]

_PLANES = ("query", "key", "key_lsb", "value")


class LayerWalker(wiring.Component):
    """Makes the jobs of a layer from one descriptor (paper section IV: one command a layer), one layer at a time.

    First the checker takes the token list, then the heads are read: those of equal ``kv_head`` are a group, and each
    complete group is sent as a job, while nothing is wrong. When all jobs are done or refused, the selection is
    commanded, and the layer gets one status. Its code is that of the first thing wrong in the order descriptor, list,
    heads, where the refusal of a job comes before what is wrong with the heads behind it. The rows of K/V head k begin
    k channels behind those of head 0. 6 cycles and two more for each further query head a job, and one for each K/V
    head passed over; all of it hides behind the checker.

    Members
    -------
    layer : In(stream.Signature(layer_descriptor))
    heads : In(stream.Signature(head_entry))        of layers with num_heads > 0, always read up to ``last``
    request : Out(stream.Signature(job_request))    to the checker: list_only once a layer, then a job each group
    answer : In(stream.Signature(job_status, always_ready=True))
                                                    to each list_only request (code 0: taken), and refused jobs
    done : In(1)                                    pulse: a job is complete
    head_entry : Out(stream.Signature(head_slot, always_ready=True))
                                                    each head, read while nothing is wrong
    select : Out(stream.Signature(select_command))
    selected : In(1)                                pulse: the selection is complete
    list_index : In(1)                              list that the selection shall write, read when all jobs are done
    void : Out(1)                                   pulse, before the status: the layer failed after its list was taken;
                                                    the token list and the sums of the heads are void
    status : Out(stream.Signature(job_status))      one a layer
    busy : Out(1)                                   a layer is inside
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "layer": In(stream.Signature(payloads.layer_descriptor(config))),
                "heads": In(stream.Signature(payloads.head_entry(config))),
                "request": Out(stream.Signature(payloads.job_request(config))),
                "answer": In(stream.Signature(payloads.job_status(config), always_ready=True)),
                "done": In(1),
                "head_entry": Out(stream.Signature(head_slot(config), always_ready=True)),
                "select": Out(stream.Signature(payloads.select_command(config))),
                "selected": In(1),
                "list_index": In(1),
                "void": Out(1),
                "status": Out(stream.Signature(payloads.job_status(config))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # Its job becomes that of each request in turn.
        self._layer = Signal(payloads.layer_descriptor(self.config), reset_less=True)
        self._code = Signal(4)
        self._taken = Signal()  # the checker has taken the list
        self._refused = Signal()  # a job was refused
        self._rank = Signal(self.config.head_width)  # of the next head
        self._ended = Signal()  # the last head was read
        self._kv_head = Signal(8)  # of the group
        self._position = Signal(8)  # K/V head at whose planes the bases are; on its way to _kv_head
        self._wrapped = Signal()  # a base passed the end of the address space on its way
        self._pending = Signal(bits_for_count(self.config.max_heads))  # jobs neither done nor refused
        self._list = Signal()  # that the selection writes
        self._final = Signal()  # the next good head is the last of those announced
        # The head in the register is the first of its group, is right, waits for the group before.
        self._opens, self._good, self._waits = (Signal(reset_less=True) for _ in range(3))
        self._take = Signal()  # the head in the register goes
        self._hold_head(m)
        self._step_bases(m)
        m.d.sync += self.head_entry.valid.eq(0)
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                self._take_layer(m)
            with m.State("CHECK"):
                self._check_layer(m)
            with m.State("LIST"):
                m.d.comb += [
                    self.request.valid.eq(1),
                    self.request.payload.list_only.eq(1),
                    self.request.payload.match.eq(self._layer.select),
                ]
                with m.If(self.request.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                self._take_answer(m)
            with m.State("HEAD"):
                self._weigh_head(m)
            with m.State("TAKE"):
                self._take_head(m)
            with m.State("BASES"):
                self._await_bases(m)
            with m.State("JOB"):
                m.d.comb += self.request.valid.eq(1)
                with m.If(self.request.ready):
                    m.d.sync += self._layer.job.group.eq(0)
                    self._next_head(m)
            with m.State("DRAIN"):
                self._drain(m)
            with m.State("SELECT"):
                m.d.comb += self.select.valid.eq(1)
                with m.If(self.select.ready):
                    m.next = "SELECTED"
            with m.State("SELECTED"):
                with m.If(self.selected):
                    m.next = "STATUS"
            with m.State("STATUS"):
                m.d.comb += self.status.valid.eq(1)
                with m.If(self.status.ready):
                    m.next = "IDLE"
        self._count_jobs(m)
        self._fill_payloads(m)
        return m

    def _hold_head(self, m):
        """The next head in a register, compared with the one before it in its layer (or with K/V head 0).

        As long as nothing is wrong that one is ``_kv_head``; then comparisons do not matter any more.
        """
        self._head = Signal(payloads.head_entry(self.config), reset_less=True)
        self._held = Signal()
        self._falls, self._same = Signal(reset_less=True), Signal(reset_less=True)  # K/V head: less than, equal to it
        opens_layer = Signal(init=1)  # the head in the register is the last of its layer, or there was none yet
        entry, before = self.heads.payload, Mux(opens_layer, 0, self._head.kv_head)
        m.d.comb += self.heads.ready.eq(~self._held | self._take)
        with m.If(self.heads.ready):
            m.d.sync += self._held.eq(self.heads.valid)
        with m.If(self.heads.valid & self.heads.ready):
            m.d.sync += [
                self._head.eq(entry),
                self._falls.eq(entry.kv_head < before),
                self._same.eq(entry.kv_head == before),
                opens_layer.eq(entry.last),
            ]

    def _step_bases(self, m):
        """Multiples of the strides by repeated addition: K/V heads ascend, so the bases go on from the last group's.

        Heads begin in channels of their own, lest all of them wait for the same channel.
        """
        layer, job = self._layer, self._layer.job
        with m.If(self._position != self._kv_head):
            m.d.sync += self._position.eq(self._position + 1)
            m.d.sync += job.skew.eq((job.skew + 1) & (self.config.num_channels - 1))
            for name in _PLANES:
                base = job[f"{name}_base"]
                total = Signal(len(base) + 1, name=f"{name}_total")
                m.d.comb += total.eq(base + layer[f"{name}_stride"])
                m.d.sync += base.eq(total)
                present = job.key_lsb_bits == LSB_BITS if name == "key_lsb" else 1
                with m.If(total[-1] & present):
                    m.d.sync += self._wrapped.eq(1)

    def _take_layer(self, m):
        m.d.comb += self.layer.ready.eq(1)
        m.d.sync += [
            self._layer.eq(self.layer.payload),
            self._layer.job.group.eq(1),  # the list_only request is not refused for what the host need not set
            self._layer.job.head.eq(0),
            self._code.eq(payloads.OK),
            *(flag.eq(0) for flag in (self._taken, self._refused, self._ended, self._wrapped)),
            *(number.eq(0) for number in (self._rank, self._kv_head, self._position)),
            self._final.eq(self.layer.payload.num_heads == 1),
        ]
        with m.If(self.layer.valid):
            m.next = "CHECK"

    def _fail(self, code):
        return self._code.eq(Mux(self._code == payloads.OK, code, self._code))

    def _check_layer(self, m):
        """A bad layer's list is asked for all the same, since its ids must be read, but surely refused: D is 0."""
        layer = self._layer
        no_heads = (layer.head_keep == 0) & (layer.num_heads != 0)
        with m.If(layer.num_heads > self.config.max_heads):
            m.d.sync += [self._fail(payloads.BAD_HEADS), layer.job.dim.eq(0)]
        with m.Elif(layer.select & ((layer.token_keep == 0) | no_heads)):
            m.d.sync += [self._fail(payloads.BAD_SELECT), layer.job.dim.eq(0)]
        with m.Elif(layer.job.pair != 0):
            m.d.sync += [self._fail(payloads.BAD_PAIR), layer.job.dim.eq(0)]
        m.next = "LIST"

    def _take_answer(self, m):
        layer = self._layer
        code = self.answer.payload.code
        with m.If(self.answer.valid):
            m.d.sync += [self._fail(code), self._taken.eq(code == payloads.OK), layer.job.group.eq(0)]
            with m.If(layer.job.list == payloads.LIST_NEW):
                m.d.sync += layer.job.list.eq(payloads.LIST_PREVIOUS)
            m.next = "HEAD"
            with m.If(layer.num_heads == 0):
                m.next = "DRAIN"

    def _weigh_head(self, m):
        """What decides on the head in the register, in flip-flops."""
        job, entry = self._layer.job, self._head
        opens = (job.group == 0) | ~self._same  # the head is the first of its group
        bad = self._falls | (~opens & (job.group == self.config.max_group)) | (entry.last != self._final)
        m.d.sync += [
            self._opens.eq(opens),
            self._good.eq((self._code == payloads.OK) & ~bad),
            self._waits.eq((self._code == payloads.OK) & ~bad & opens & (job.group != 0)),
        ]
        with m.If(self._held):
            m.next = "TAKE"

    def _take_head(self, m):
        """Adds a head to the group, or leaves it where it is until the group before has been sent."""
        job, entry = self._layer.job, self._head
        m.d.comb += self._take.eq(~self._waits)
        with m.If(self._waits):
            m.next = "BASES"
        with m.Else():
            m.d.sync += self._ended.eq(entry.last)
            m.next = "HEAD"
            with m.If(entry.last):
                m.next = "DRAIN"
            with m.If(self._good):
                m.d.sync += [
                    self.head_entry.valid.eq(1),
                    self._rank.eq(self._rank + 1),
                    self._final.eq(self._rank + 2 == self._layer.num_heads),
                    self._kv_head.eq(entry.kv_head),
                    job.group.eq(job.group + 1),
                ]
                with m.If(self._opens):
                    m.d.sync += [job.head.eq(self._rank), job.scale.eq(entry.scale), job.shift.eq(entry.shift)]
                with m.If(entry.last):
                    m.next = "BASES"
            with m.Else():
                m.d.sync += self._fail(payloads.BAD_HEADS)

    def _next_head(self, m):
        with m.If(self._ended):
            m.next = "DRAIN"
        with m.Else():
            m.next = "HEAD"

    def _await_bases(self, m):
        """The complete group is sent when the bases have arrived, unless a job was refused meanwhile."""
        with m.If(self._code != payloads.OK):
            self._next_head(m)
        with m.Elif(self._position == self._kv_head):
            m.next = "JOB"
            with m.If(self._wrapped):
                m.d.sync += self._fail(payloads.BAD_WINDOW)
                self._next_head(m)

    def _drain(self, m):
        with m.If(self._pending == 0):
            m.d.comb += self.void.eq(self._taken & (self._code != payloads.OK))
            m.d.sync += self._list.eq(self.list_index)
            m.next = "STATUS"
            with m.If(self._layer.select & (self._code == payloads.OK)):
                m.next = "SELECT"

    def _count_jobs(self, m):
        """Jobs in flight; the first refusal's code stands over that of a head, which was read ahead of it."""
        sent = self.request.valid & self.request.ready & ~self.request.payload.list_only
        refused = self.answer.valid & self._taken
        m.d.sync += self._pending.eq(self._pending + sent - self.done - refused)
        with m.If(refused & ~self._refused):
            m.d.sync += [self._refused.eq(1), self._code.eq(self.answer.payload.code)]

    def _fill_payloads(self, m):
        config, layer, command = self.config, self._layer, self.select.payload
        slot = self.head_entry.payload
        m.d.sync += slot.rank.eq(self._rank)
        m.d.sync += [slot[name].eq(self._head[name]) for name in ("head", "weight", "importance")]
        m.d.comb += [
            self.request.payload.job.eq(layer.job),
            self.request.payload.layer.eq(1),
            self.status.payload.job_id.eq(layer.job.job_id),
            self.status.payload.code.eq(self._code),
            command.job_id.eq(layer.job.job_id),
            command.num_tokens.eq(layer.job.num_keys),
            command.num_heads.eq(layer.num_heads),
            command.decay.eq(layer.decay),
            command.list.eq(self._list),
        ]
        limits = {
            "token_keep": layer.job.num_keys,
            "head_keep": layer.num_heads,
            "pin_first": config.max_tokens,
            "pin_last": config.max_tokens,
        }
        for name, limit in limits.items():
            m.d.comb += command[name].eq(Mux(layer[name] < limit, layer[name], limit))
