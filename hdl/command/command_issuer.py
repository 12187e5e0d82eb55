"""Gives the core what commands say."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.command_chooser import PAIR_FIRST, PAIR_SECOND
from hdl.command.command_fetch import fetched_command
from hdl.command.descriptors import is_append, is_layer, is_plain, job_fields, layer_fields, limited
from hdl.command.head_gate import HeadGate
from hdl.command.head_reader import table_head
from hdl.command.open_commands import ENTRY_WIDTH, closed_command, open_append, open_head, opened_command
from hdl.command.token_reader import token_request
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.formats import LISTS, Code
from hdl.spec.widths import bits_for_count

__all__ = ["CommandIssuer", "command_tables"]


def command_tables(queues: int) -> data.StructLayout:
    """Addresses of the tables that a command reads, its queue, and whether it begins when no other one works."""
    return data.StructLayout({"state": 64, "heads": 64, "queue": bits_for_count(queues - 1), "alone": 1})


def _half(config: Config) -> data.StructLayout:
    """The first job of a pair, while it waits for the second."""
    job, tokens = payloads.job_descriptor(config), token_request(config)
    return data.StructLayout({"waits": 1, "job": job, "listed": 1, "tokens": tokens})


def _is_alone(fetched, first):
    """Whether it is the second job of a pair whose first one was closed."""
    return (fetched.pair == PAIR_SECOND) & ~first.waits


class CommandIssuer(wiring.Component):
    """One command after the other: opened, then its descriptor, tokens and heads to the core, in the order it wants.

    A job's heads come before its descriptor, which has the scale of the first. The first job of a pair waits here
    until the second one is there, so that the core gets both or none; what follows it instead makes it malformed, and
    what is wrong with the second is the code of both. A command in error, NOP and FENCE are closed when opened. An
    APPEND is on offer until all of it is done, and then closed with ``append_code``; nothing follows it before. Heads
    that were read for a command which is closed are dropped. A job of one head takes 5 cycles, if nobody waits.

    Members
    -------
    i : In(stream.Signature(fetched_command))         taken when all of it is done
    entry : In(stream.Signature(ENTRY_WIDTH))         numbers of which no command is open
    cancel : In(8).array(queues)                      0, or the code of the commands that have not begun: none does
    pause : In(1).array(queues)                       none begins, but for the second one of a pair
    tables : Out(command_tables), busy : In(1)        those of the command on hand; while busy it does not begin
    opened : Out(stream.Signature(opened_command))
    closed : Out(stream.Signature(closed_command))
    pair_open : Out(1)                                the first job of a pair waits
    head : In(stream.Signature(table_head))           of every command with ``heads``, in the order of the commands
    open_head : Out(stream.Signature(open_head))      every head of the command, to those who write its results
    token_request : Out(stream.Signature(token_request))
    append : Out(stream.Signature(open_append))       an APPEND, which is taken when it is done
    append_code : In(8)                               its code, when it is taken
    layer, job, heads : Out                           to the core, as its members of these names
    """

    def __init__(self, config: Config, *, queues: int):
        self.config, self.queues = config, queues
        super().__init__(
            {
                "i": In(stream.Signature(fetched_command(queues))),
                "entry": In(stream.Signature(ENTRY_WIDTH)),
                "cancel": In(8).array(queues),
                "pause": In(1).array(queues),
                "pair_open": Out(1),
                "tables": Out(command_tables(queues)),
                "busy": In(1),
                "opened": Out(stream.Signature(opened_command(queues))),
                "closed": Out(stream.Signature(closed_command())),
                "head": In(stream.Signature(table_head())),
                "open_head": Out(stream.Signature(open_head())),
                "token_request": Out(stream.Signature(token_request(config))),
                "append": Out(stream.Signature(open_append())),
                "append_code": In(8),
                "layer": Out(stream.Signature(payloads.layer_descriptor(config))),
                "job": Out(stream.Signature(payloads.job_descriptor(config))),
                "heads": Out(stream.Signature(payloads.head_entry(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.gate = gate = HeadGate(self.config)
        connect(m, gate.heads, flipped(self.heads))
        connect(m, gate.open_head, flipped(self.open_head))
        fetched, first = Signal(self.i.payload.shape()), Signal(_half(self.config))  # as it came, but for its code
        entry, code = Signal(ENTRY_WIDTH, reset_less=True), Signal(8, reset_less=True)
        m.d.comb += [fetched.eq(self.i.payload), fetched.code.eq(code)]
        _payloads(self, m, fetched, entry, first)
        with m.FSM(name="issue"):
            self._begin(m, fetched, code, entry, first)
            self._close(m, fetched, first)
            self._heads(m, fetched)
            self._descriptors(m, fetched, first)
            with m.State("APPEND"):
                m.d.comb += self.append.valid.eq(1)
                with m.If(self.append.ready):
                    m.d.sync += code.eq(self.append_code)
                    m.next = "CLOSE"
        return m

    def _begin(self, m, fetched, code, entry, first):
        """A command gets a number and is opened."""
        command = fetched.command
        cancel = Array(self.cancel)[fetched.queue]
        held = Array(self.pause)[fetched.queue] & ~first.waits
        plain = is_plain(command) | (fetched.code != 0) | _is_alone(fetched, first)
        m.d.comb += self.pair_open.eq(first.waits)
        with m.State("TAKE"):
            m.d.sync += code.eq(self.i.payload.code)
            with m.If(self.i.valid & first.waits & (fetched.pair != PAIR_SECOND)):
                m.next = "DROP"
            with m.Elif(self.i.valid):
                m.next = "ENTRY"
        with m.State("ENTRY"):
            m.d.comb += self.entry.ready.eq((plain & ~held) | (cancel != 0) | ~(self.busy | held))
            m.d.sync += entry.eq(self.entry.payload)
            with m.If(cancel != 0):
                m.d.sync += code.eq(cancel)
            with m.If(self.entry.valid & self.entry.ready):
                m.next = "OPEN"
        with m.State("OPEN"):
            m.d.comb += self.opened.valid.eq(1)
            with m.If(self.opened.ready & plain):
                m.next = "CLOSE"
                with m.If(fetched.heads):
                    m.next = "FORGET"
            with m.Elif(self.opened.ready & is_append(command)):
                m.next = "APPEND"
            with m.Elif(self.opened.ready & is_layer(command)):
                m.next = "LAYER"
            with m.Elif(self.opened.ready):
                m.next = "JOB_HEADS"
        with m.State("FORGET"):
            m.d.comb += self.head.ready.eq(1)
            with m.If(self.head.valid & self.head.payload.last):
                m.next = "CLOSE"

    def _close(self, m, fetched, first):
        """What is not given to the core is answered: a command, and the first job of a pair that cannot be."""
        closed = self.closed.payload
        with m.State("CLOSE"):
            m.d.comb += [
                self.closed.valid.eq(1),
                closed.entry.eq(self.opened.payload.entry),
                closed.code.eq(Mux((fetched.code == 0) & _is_alone(fetched, first), Code.MALFORMED, fetched.code)),
            ]
            with m.If(self.closed.ready):
                self._done(m)
                with m.If(first.waits):
                    m.d.comb += self.i.ready.eq(0)
                    m.next = "DROP"
        with m.State("DROP"):
            second = fetched.pair == PAIR_SECOND
            m.d.comb += [
                self.closed.valid.eq(1),
                closed.entry.eq(first.tokens.entry),
                closed.code.eq(Mux(second, fetched.code, Code.MALFORMED)),
            ]
            with m.If(self.closed.ready):
                m.d.sync += first.waits.eq(0)
                m.next = "ENTRY"
                with m.If(second):
                    self._done(m)

    def _done(self, m):
        """The command leaves."""
        m.d.comb += self.i.ready.eq(1)
        m.next = "TAKE"

    def _heads(self, m, fetched):
        """Heads of a job come before its descriptor, those of a layer after it."""
        gate = m.submodules.gate
        for name in ("JOB", "LAYER"):
            with m.State(f"{name}_HEADS"):
                m.d.comb += [
                    gate.i.valid.eq(self.head.valid & fetched.heads),
                    gate.i.payload.eq(self.head.payload),
                    self.head.ready.eq(gate.i.ready & fetched.heads),
                ]
                with m.If(gate.passed | ~fetched.heads):
                    if name == "JOB":
                        m.next = "JOB"
                    else:
                        self._done(m)

    def _descriptors(self, m, fetched, first):
        listed = fetched.command.flags.list == LISTS.index("table")
        with m.State("LAYER"):
            self._offer(m, self.layer, listed, "LAYER_TOKENS", "LAYER_HEADS")
        with m.State("JOB"):
            with m.If(fetched.pair == PAIR_FIRST):
                m.d.sync += [
                    first.waits.eq(1),
                    first.job.eq(self.job.payload),
                    first.listed.eq(listed),
                    first.tokens.eq(self.token_request.payload),
                ]
                self._done(m)
            with m.Elif(first.waits):
                m.next = "FIRST"
            with m.Else():
                self._offer(m, self.job, listed, "JOB_TOKENS", "")
        with m.State("FIRST"):
            m.d.comb += self.job.payload.eq(first.job)
            self._offer(m, self.job, first.listed, "FIRST_TOKENS", "SECOND")
        with m.State("FIRST_TOKENS"):
            m.d.comb += self.token_request.payload.eq(first.tokens)
            self._offer(m, self.token_request, 0, "", "SECOND")
        with m.State("SECOND"):
            m.d.sync += first.waits.eq(0)
            m.next = "JOB"
        with m.State("LAYER_TOKENS"):
            self._offer(m, self.token_request, 0, "", "LAYER_HEADS")
        with m.State("JOB_TOKENS"):
            self._offer(m, self.token_request, 0, "", "")

    def _offer(self, m, stream, listed, then, otherwise):
        """Offers an item; goes on to ``then`` if there is a list, else to ``otherwise``, or "": the command is done."""
        m.d.comb += stream.valid.eq(1)
        with m.If(stream.ready):
            if then:
                with m.If(listed):
                    m.next = then
            with m.If(~listed if then else 1):
                if otherwise:
                    m.next = otherwise
                else:
                    self._done(m)


def _payloads(issuer: CommandIssuer, m, fetched, entry, first):
    """What is offered, and when it is of no matter."""
    command, plan, gate, config = fetched.command, fetched.plan, m.submodules.gate, issuer.config
    pair = Mux(fetched.pair == PAIR_SECOND, 2, fetched.pair)
    queue = Signal.like(fetched.queue)  # of the command before, while there is none
    m.d.sync += queue.eq(issuer.tables.queue)
    job = job_fields(config, command, plan, job_id=entry, pair=pair)
    job |= {"scale": gate.first.scale, "shift": limited(gate.first.shift, 6, instead=0)}
    layer, tokens = issuer.layer.payload, issuer.token_request.payload
    short = limited(command.num_keys, len(tokens.count))
    m.d.comb += [
        issuer.tables.state.eq(command.state),
        issuer.tables.heads.eq(plan.heads),
        issuer.tables.queue.eq(Mux(issuer.i.valid, fetched.queue, queue)),
        issuer.tables.alone.eq(is_append(command)),
        issuer.append.payload.entry.eq(entry),
        Value.cast(issuer.append.payload.command).eq(command.as_value()),
        issuer.append.payload.plan.eq(plan),
        issuer.opened.payload.entry.eq(entry),
        issuer.opened.payload.fetched.eq(fetched),
        gate.entry.eq(entry),
        gate.core.eq(is_layer(command)),
        tokens.address.eq(command.state),
        tokens.count.eq(Mux(short > config.max_tokens, config.max_tokens, short)),
        tokens.entry.eq(entry),
        *(issuer.job.payload[name].eq(value) for name, value in job.items()),
        *(layer.job[name].eq(value) for name, value in job.items()),
        *(layer[name].eq(value) for name, value in layer_fields(config, command, plan).items()),
    ]
