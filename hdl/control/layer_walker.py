"""Walks the heads of a layer by itself, then has the cascade selection made."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.cascade.head_importance import head_slot
from hdl.control.walker.group_walk import GroupWalk
from hdl.control.walker.job_tally import JobTally
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import CODE_WIDTH

__all__ = ["LayerWalker"]


class LayerWalker(wiring.Component):
    """Makes the jobs of a layer from one descriptor (paper section IV: one command a layer), one layer at a time.

    First the checker takes the token list, then the heads are read: those of equal ``kv_head`` are a group, and each
    complete group is sent as a job, while nothing is wrong. When all jobs are done or refused, the selection is
    commanded, and the layer gets one status. Its code is that of the first thing wrong in the order descriptor, list,
    heads, where the refusal of a job comes before what is wrong with the heads after it. The rows of K/V head k begin
    k channels after those of head 0. 6 cycles and two more for each further query head a job, and one for each K/V
    head passed over; the checker takes longer.

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
        m.submodules.groups = groups = GroupWalk(self.config)
        m.submodules.tally = tally = JobTally(self.config)
        layer = Signal(payloads.layer_descriptor(self.config), reset_less=True)
        code = Signal(CODE_WIDTH)  # the first thing wrong stands
        fine = Signal()
        taken = Signal()  # the checker has taken the list
        m.d.comb += fine.eq(code == payloads.OK)
        with m.If(groups.fail & fine):
            m.d.sync += code.eq(groups.code)
        with m.FSM() as fsm:
            with m.State("IDLE"):
                self._take_layer(m, layer, code, taken)
            with m.State("CHECK"):
                self._check_layer(m, layer, code)
            with m.State("LIST"):
                with m.If(self.request.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                self._take_answer(m, layer, code, taken, groups.start)
            with m.State("HEADS"):
                with m.If(groups.done):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                with m.If(tally.none):
                    m.d.comb += self.void.eq(taken & ~fine)
                    m.next = "STATUS"
                    with m.If(layer.select & fine):
                        m.next = "SELECT"
            self._finish(m)
        m.d.comb += [self.busy.eq(~fsm.ongoing("IDLE")), groups.load.eq(fsm.ongoing("IDLE")), groups.fine.eq(fine)]
        self._request_jobs(m, layer, groups, fsm.ongoing("LIST"))
        self._count_jobs(m, tally, code, taken, fsm.ongoing("IDLE"), groups.group)
        self._fill_command(m, layer, tally.none & fsm.ongoing("DRAIN"))
        m.d.comb += [self.status.payload.job_id.eq(layer.job.job_id), self.status.payload.code.eq(code)]
        return m

    def _take_layer(self, m: Module, layer, code: Signal, taken: Signal) -> None:
        m.d.comb += self.layer.ready.eq(1)
        m.d.sync += [layer.eq(self.layer.payload), code.eq(payloads.OK), taken.eq(0)]
        # The list_only request is not refused for what the host need not set.
        m.d.sync += [layer.job.group.eq(1), layer.job.head.eq(0)]
        with m.If(self.layer.valid):
            m.next = "CHECK"

    def _check_layer(self, m: Module, layer, code: Signal) -> None:
        """A bad layer's list is asked for all the same, since its ids must be read, but surely refused: D is 0."""
        no_heads = (layer.head_keep == 0) & (layer.num_heads != 0)
        with m.If(layer.num_heads > self.config.max_heads):
            m.d.sync += [code.eq(payloads.BAD_HEADS), layer.job.dim.eq(0)]
        with m.Elif(layer.select & ((layer.token_keep == 0) | no_heads)):
            m.d.sync += [code.eq(payloads.BAD_SELECT), layer.job.dim.eq(0)]
        with m.Elif(layer.job.pair != 0):
            m.d.sync += [code.eq(payloads.BAD_PAIR), layer.job.dim.eq(0)]
        m.next = "LIST"

    def _take_answer(self, m: Module, layer, code: Signal, taken: Signal, start: Signal) -> None:
        answer = self.answer.payload.code
        with m.If(self.answer.valid):
            m.d.sync += taken.eq(answer == payloads.OK)
            with m.If(code == payloads.OK):
                m.d.sync += code.eq(answer)
            with m.If(layer.job.list == payloads.LIST_NEW):
                m.d.sync += layer.job.list.eq(payloads.LIST_PREVIOUS)
            m.d.comb += start.eq(layer.num_heads != 0)
            m.next = "HEADS"
            with m.If(layer.num_heads == 0):
                m.next = "DRAIN"

    def _finish(self, m: Module) -> None:
        """The last states: selection, status."""
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

    def _request_jobs(self, m: Module, layer, groups: GroupWalk, asks: Signal) -> None:
        """Requests to the checker: the list, then the layer's job with the fields of each group."""
        request, group = self.request, groups.group
        connect(m, flipped(self.heads), groups.heads)
        connect(m, groups.head_entry, flipped(self.head_entry))
        m.d.comb += [
            groups.layer.eq(self.layer.payload),
            request.valid.eq(asks | group.valid),
            group.ready.eq(request.ready),
            request.payload.job.eq(layer.job),
            request.payload.layer.eq(request.valid),  # 1; a constant bit of a vector would have no driver in Verilog
            request.payload.list_only.eq(asks),
            request.payload.match.eq(asks & layer.select),
        ]
        with m.If(~asks):
            m.d.comb += [request.payload.job[name].eq(group.payload[name]) for name in group.payload.shape().members]

    def _count_jobs(self, m: Module, tally: JobTally, code: Signal, taken: Signal, idle: Signal, group) -> None:
        """The first refusal's code stands over that of a head, which was read ahead of it."""
        m.d.comb += [
            tally.clear.eq(idle),
            tally.sent.eq(group.valid & group.ready),
            tally.done.eq(self.done),
            tally.refused.eq(self.answer.valid & taken),
        ]
        with m.If(tally.first):
            m.d.sync += code.eq(self.answer.payload.code)

    def _fill_command(self, m: Module, layer, drained: Signal) -> None:
        """Numbers of the selection, limited to what the tables can hold."""
        config, command = self.config, self.select.payload
        written = Signal()  # the list that the selection writes
        with m.If(drained):
            m.d.sync += written.eq(self.list_index)
        m.d.comb += [
            command.job_id.eq(layer.job.job_id),
            command.num_tokens.eq(layer.job.num_keys),
            command.num_heads.eq(layer.num_heads),
            command.decay.eq(layer.decay),
            command.list.eq(written),
        ]
        limits = {
            "token_keep": layer.job.num_keys,
            "head_keep": layer.num_heads,
            "pin_first": config.max_tokens,
            "pin_last": config.max_tokens,
        }
        for name, limit in limits.items():
            m.d.comb += command[name].eq(Mux(layer[name] < limit, layer[name], limit))
