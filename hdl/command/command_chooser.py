"""Commands of all queues, one after the other, each with what is wrong with it."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.command.command_check import LATENCY, CommandCheck, window
from hdl.command.command_ring import COUNT_WIDTH, slot
from hdl.fetch.crossbar import RoundRobin
from hdl.spec.formats import Opcode, layer_command
from hdl.spec.widths import bits_for_count

__all__ = ["PAIR_FIRST", "PAIR_NONE", "PAIR_SECOND", "CommandChooser", "chosen_command"]

PAIR_NONE, PAIR_FIRST, PAIR_SECOND = 0, 1, 2


def chosen_command(queues: int) -> data.StructLayout:
    """A command whose plan is to be read, or which needs none, or whose code says why it does not go on."""
    return data.StructLayout(
        {
            "queue": bits_for_count(queues - 1),
            "number": COUNT_WIDTH,  # of the command in its queue
            "code": 8,  # 0: as far as can be told without its plan it is right
            "pair": 2,  # PAIR_…: the second one always follows the first
            "planned": 1,  # its plan is to be read
            "command": layer_command(),
        }
    )


class CommandChooser(wiring.Component):
    """Takes a command and checks it; the next one is taken when this one has left.

    Queues take turns, but for the second command of a pair, which follows the first. The first of a pair must have been
    announced together with the second, else it is malformed, and is taken when the second has been asked for and has
    room for its answer; so no queue waits for a partner that does not come. A command in front of which a first one
    stands, and which is no PAIR, comes as it is. One with a code of ``cancel`` is no first one, and its plan is not
    read.
    Latency 3 + that of a check; a command in that many cycles, and 1 more.

    Members
    -------
    slot : In(stream.Signature(slot)).array(queues)
    spare : In(1).array(queues)             the command after the one on offer has been asked for, and has room
    pause : In(1).array(queues)             none is taken, but for the second one of a pair
    cancel : In(8).array(queues)            0, or the code of all commands
    readable : In(window).array(queues)     what commands of the queue may read; constant while it is enabled
    o : Out(stream.Signature(chosen_command))
    """

    def __init__(self, *, queues: int):
        self.queues = queues
        super().__init__(
            {
                "slot": In(stream.Signature(slot())).array(queues),
                **dict.fromkeys(("spare", "pause"), In(1).array(queues)),
                "cancel": In(8).array(queues),
                "readable": In(window()).array(queues),
                "o": Out(stream.Signature(chosen_command(queues))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.check = CommandCheck()
        chosen = Signal(self.o.payload.shape(), reset_less=True)
        taken, follows = self._take(m, chosen)
        self._check(m, chosen, taken, follows)
        m.d.comb += self.o.payload.eq(chosen)
        cycles = Signal(range(LATENCY + 1))  # in which the check has had its inputs
        m.d.sync += cycles.eq(0)
        with m.FSM(name="choose"):
            with m.State("CHOOSE"):
                m.d.comb += m.submodules.turn.requests.eq(self._offered(chosen.queue, follows))
                with m.If(m.submodules.turn.grant.any()):
                    m.d.sync += chosen.queue.eq(m.submodules.turn.index)
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += taken.ready.eq(1)
                m.next = "CHECK"
            with m.State("CHECK"):
                with m.If(cycles == LATENCY):
                    self._judge(m, chosen, follows)
                    m.next = "GIVE"
                with m.Else():
                    m.d.sync += cycles.eq(cycles + 1)
            with m.State("GIVE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "CHOOSE"
        return m

    def _check(self, m, chosen, taken, follows):
        """Inputs of the check."""
        check = m.submodules.check
        error, more = Signal(reset_less=True), Signal(reset_less=True)
        with m.If(taken.ready):
            m.d.sync += [error.eq(taken.payload.error), more.eq(taken.payload.more)]
        m.d.comb += [
            check.command.eq(chosen.command),
            check.error.eq(error),
            check.more.eq(more),
            check.follows.eq(follows),
            check.readable.eq(Array(self.readable)[chosen.queue]),
        ]

    def _judge(self, m, chosen, follows):
        """What has been found of the command."""
        check, cancel = m.submodules.check, Array(self.cancel)[chosen.queue]
        right = (check.code == 0) & (cancel == 0)
        first = check.paired & ~follows & right
        m.d.sync += [
            chosen.code.eq(Mux(check.code != 0, check.code, cancel)),
            chosen.pair.eq(Mux(first, PAIR_FIRST, Mux(check.paired & follows, PAIR_SECOND, PAIR_NONE))),
            chosen.planned.eq(check.planned & right),
            follows.eq(first),
        ]

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

    def _take(self, m, chosen):
        """(the command of the chosen queue as a stream, whether it follows the first one of a pair).

        The queue is chosen in one cycle, and its command, which stays on offer, taken in the next.
        """
        m.submodules.turn = RoundRobin(self.queues)
        taken, follows = stream.Signature(slot()).create(path=("taken",)), Signal()
        with m.Switch(chosen.queue):
            for index, source in enumerate(self.slot):
                with m.Case(index):
                    m.d.comb += [taken.payload.eq(source.payload), source.ready.eq(taken.ready)]
        with m.If(taken.ready):
            m.d.sync += [chosen.number.eq(taken.payload.number), chosen.command.eq(taken.payload.command)]
        return taken, follows
