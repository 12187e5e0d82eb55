"""Commands of all queues, one after the other, each with its plan and with what is wrong with it."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.command_check import LATENCY, CommandCheck, PlanCheck, window
from hdl.command.command_ring import COUNT_WIDTH, slot
from hdl.command.read_port import ReadPort, check_word_width
from hdl.command.record_reader import RecordFetcher
from hdl.fetch.crossbar import RoundRobin
from hdl.spec.config import Config
from hdl.spec.formats import PLAN_BYTES, Opcode, layer_command, plan
from hdl.spec.widths import bits_for_count

__all__ = ["PAIR_FIRST", "PAIR_NONE", "PAIR_SECOND", "CommandFetch", "fetched_command"]

PAIR_NONE, PAIR_FIRST, PAIR_SECOND = 0, 1, 2


def fetched_command(queues: int) -> data.StructLayout:
    """A command that can go on, or whose code says why not."""
    return data.StructLayout(
        {
            "queue": bits_for_count(queues - 1),
            "number": COUNT_WIDTH,  # of the command in its queue
            "code": 8,  # 0: as far as can be told without its tables it is right
            "pair": 2,  # PAIR_…: the second one always follows the first
            "command": layer_command(),
            "plan": plan(),  # undefined if the command has none
        }
    )


class CommandFetch(wiring.Component):
    """Takes a command, checks it, reads its plan, checks that; the next one is taken when this one has left.

    Queues take turns, but for the second command of a pair, which follows the first. The first of a pair must have been
    announced together with the second, else it is malformed, and is taken when the second has been asked for and has
    room for its answer; so no queue waits for a partner that does not come. A command in front of which a first one
    stands, and which is no PAIR, comes as it is. One with a code of ``cancel`` is no first one, and its plan is not
    read.
    Latency 4 + that of a check without a plan; with one that of two checks + 6, and what its reading takes.

    Members
    -------
    slot : In(stream.Signature(slot)).array(queues)
    spare : In(1).array(queues)             the command after the one on offer has been asked for, and has room
    pause : In(1).array(queues)             none is taken, but for the second one of a pair
    cancel : In(8).array(queues)            0, or the code of all commands
    readable : In(window).array(queues)     what commands of the queue may read; constant while it is enabled
    port : Out(ReadPort)
    o : Out(stream.Signature(fetched_command))
    """

    def __init__(self, config: Config, *, queues: int, word_width: int):
        self.config, self.queues, self.word_width = config, queues, check_word_width(word_width)
        super().__init__(
            {
                "slot": In(stream.Signature(slot())).array(queues),
                **dict.fromkeys(("spare", "pause"), In(1).array(queues)),
                "cancel": In(8).array(queues),
                "readable": In(window()).array(queues),
                "port": Out(ReadPort(word_width)),
                "o": Out(stream.Signature(fetched_command(queues))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.check = CommandCheck()
        m.submodules.plan_check = PlanCheck(self.config)
        m.submodules.fetcher = fetcher = RecordFetcher(plan(), word_width=self.word_width)
        connect(m, fetcher.port, flipped(self.port))
        fetched = Signal(self.o.payload.shape(), reset_less=True)
        taken, follows = self._take(m, fetched)
        error = self._check(m, fetched, taken, follows)
        cycles = Signal(range(LATENCY + 1))  # in which a check has had its inputs
        judged = cycles == LATENCY
        m.d.sync += cycles.eq(0)
        with m.FSM(name="fetch") as fsm:
            with m.State("CHOOSE"):
                m.d.comb += m.submodules.turn.requests.eq(self._offered(fetched.queue, follows))
                with m.If(m.submodules.turn.grant.any()):
                    m.d.sync += fetched.queue.eq(m.submodules.turn.index)
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += taken.ready.eq(1)
                m.next = "CHECK"
            with m.State("CHECK"):
                self._judge_command(m, fetched, follows, judged)
            self._plan_states(m, fetched, error, judged)
            with m.State("GIVE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "CHOOSE"
        with m.If((fsm.ongoing("CHECK") | fsm.ongoing("JUDGE")) & ~judged):
            m.d.sync += cycles.eq(cycles + 1)
        return m

    def _check(self, m, fetched, taken, follows):
        """Inputs of both checks; returns the flag that what was read last was in error."""
        check, plan_check = m.submodules.check, m.submodules.plan_check
        error, more = Signal(reset_less=True), Signal(reset_less=True)
        readable = Array(self.readable)[fetched.queue]
        with m.If(taken.ready):
            m.d.sync += [error.eq(taken.payload.error), more.eq(taken.payload.more)]
        m.d.comb += [
            self.o.payload.eq(fetched),
            check.command.eq(fetched.command),
            check.error.eq(error),
            check.more.eq(more),
            check.follows.eq(follows),
            check.readable.eq(readable),
            plan_check.command.eq(fetched.command),
            plan_check.plan.eq(fetched.plan),
            plan_check.error.eq(error),
            plan_check.readable.eq(readable),
        ]
        return error

    def _judge_command(self, m, fetched, follows, judged):
        check, cancel = m.submodules.check, Array(self.cancel)[fetched.queue]
        right = (check.code == 0) & (cancel == 0)
        first = check.paired & ~follows & right
        with m.If(judged):
            m.d.sync += [
                fetched.code.eq(Mux(check.code != 0, check.code, cancel)),
                fetched.pair.eq(Mux(first, PAIR_FIRST, Mux(check.paired & follows, PAIR_SECOND, PAIR_NONE))),
                follows.eq(first),
            ]
            with m.If(check.planned & right):
                m.next = "ASK"
            with m.Else():
                m.next = "GIVE"

    def _plan_states(self, m, fetched, error, judged):
        """The plan is read and judged."""
        fetcher, request = m.submodules.fetcher, m.submodules.fetcher.request
        m.d.comb += [
            request.payload.address.eq(fetched.command.plan),
            request.payload.words.eq(8 * PLAN_BYTES // self.word_width),
            request.payload.records.eq(1),
        ]
        with m.State("ASK"):
            m.d.comb += request.valid.eq(1)
            with m.If(request.ready):
                m.next = "READ"
        with m.State("READ"):
            m.d.comb += fetcher.o.ready.eq(1)
            with m.If(fetcher.o.valid):
                m.d.sync += [fetched.plan.eq(fetcher.o.payload.record), error.eq(fetcher.o.payload.error)]
                m.next = "JUDGE"
        with m.State("JUDGE"):
            m.d.sync += fetched.code.eq(m.submodules.plan_check.code)
            with m.If(judged):
                m.next = "GIVE"

    def _offered(self, queue, follows):
        """Queues that may be chosen: after the first command of a pair its own."""

        def begins(index, slot):
            """Whether the command may be taken, if it does not follow a first one."""
            alone = (data.View(layer_command(), slot.command).opcode != Opcode.PAIR) | ~slot.more
            return ~self.pause[index] & (alone | self.spare[index] | (self.cancel[index] != 0))

        return Cat(
            source.valid & Mux(follows, queue == index, begins(index, source.payload))
            for index, source in enumerate(self.slot)
        )

    def _take(self, m, fetched):
        """(the command of the chosen queue as a stream, whether it follows the first one of a pair).

        The queue is chosen in one cycle, and its command, which stays on offer, taken in the next.
        """
        m.submodules.turn = RoundRobin(self.queues)
        taken, follows = stream.Signature(slot()).create(path=("taken",)), Signal()
        with m.Switch(fetched.queue):
            for index, source in enumerate(self.slot):
                with m.Case(index):
                    m.d.comb += [taken.payload.eq(source.payload), source.ready.eq(taken.ready)]
        with m.If(taken.ready):
            m.d.sync += [
                fetched.number.eq(taken.payload.number),
                fetched.command.eq(taken.payload.command),
            ]
        return taken, follows
