"""The hardware between the serial line and the core."""

from __future__ import annotations

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from fpga.link.command_decoder import GROUPS, CommandDecoder
from fpga.link.counters_command import CountersCommand
from fpga.link.frame.receiver import FrameReceiver
from fpga.link.frame.transmitter import FrameTransmitter
from fpga.link.identity_command import IdentityCommand
from fpga.link.memory_command import MemoryCommand
from fpga.link.pull_command import PullCommand
from fpga.link.push_command import PushCommand, item_layouts
from fpga.link.reset_command import ResetCommand
from fpga.link.result_queue import ResultQueue, result_layouts
from fpga.link.results_command import ResultsCommand
from fpga.link.uart import UartReceiver, UartTransmitter
from fpga.spec.layouts import HostMemory
from fpga.spec.protocol import Command
from fpga.spec.settings import SystemSettings
from hdl.control.counters import COUNTER_WIDTH, counters_layout
from hdl.stream.stream_queue import StreamQueue

__all__ = ["Link"]


class Link(wiring.Component):
    """Executes the host's commands (docs/protocol.md): memory, jobs, results, counters, reset.

    Members
    -------
    rx : In(1)     serial line from the host, asynchronous; high when idle
    tx : Out(1)    and to it
    job, layer, heads, ids : Out(stream.Signature(…))              to the core
    out, prob, status, survivor : In(stream.Signature(…))          from it
    counters : In(counters_layout(core))
    counters_clear : Out(1)        pulse: counters and words read become 0
    words_read : In(ArrayLayout(48, num_channels))    words that the core has read of each channel
    memory : Out(HostMemory(core))
    memory_idle : In(1)            no request of the core is in flight
    core_reset : Out(1)            during RESET, at least 8 cycles and until ``memory_idle``
    busy : Out(1)                  a job or layer has no status yet, or a request is received, executed or answered
    error : Out(1)                 since the last RESET a frame was dropped, an answer was an error or a job was refused
    """

    RECEIVED = 512
    """Bytes that wait while a request is executed; more are lost."""

    OPEN = 256
    """More jobs and layers than can be without a status."""

    def __init__(self, settings: SystemSettings):
        self.settings = settings
        core = settings.core
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                **{name: Out(stream.Signature(shape)) for name, shape in item_layouts(core).items()},
                **{name: In(stream.Signature(shape)) for name, shape in result_layouts(core).items()},
                "counters": In(counters_layout(core)),
                "counters_clear": Out(1),
                "words_read": In(data.ArrayLayout(COUNTER_WIDTH, core.num_channels)),
                "memory": Out(HostMemory(core)),
                "memory_idle": In(1),
                "core_reset": Out(1),
                "busy": Out(1),
                "error": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        settings, cycles = self.settings, self.settings.cycles_per_bit
        m.submodules.uart_receiver = self._uart_receiver = UartReceiver(cycles)
        m.submodules.received = self._received = StreamQueue(8, depth=self.RECEIVED)
        m.submodules.receiver = self._receiver = FrameReceiver()
        m.submodules.decoder = self._decoder = CommandDecoder()
        m.submodules.transmitter = self._transmitter = FrameTransmitter()
        m.submodules.uart_transmitter = self._uart_transmitter = UartTransmitter(cycles)
        m.submodules.identity = self._identity = IdentityCommand(settings)
        m.submodules.reset = self._reset = ResetCommand()
        m.submodules.memory = self._memory = MemoryCommand(settings)
        m.submodules.counters = self._counters = CountersCommand(settings.core)
        # A RESET empties these.
        clear = ResetInserter(self.core_reset)
        self._push, self._pull = PushCommand(settings.core), PullCommand(settings.core)
        self._results, self._queue = ResultsCommand(), ResultQueue(settings.core)
        m.submodules.push, m.submodules.pull = clear(self._push), clear(self._pull)
        m.submodules.results, m.submodules.queue = clear(self._results), clear(self._queue)
        self._connect_line(m)
        self._connect_commands(m)
        self._connect_core(m)
        self._connect_lights(m)
        return m

    def _connect_line(self, m):
        """From the line to the decoder and back. A byte that finds the queue full is lost, which the CRC will show."""
        received, receiver, transmitter = self._received, self._receiver, self._transmitter
        m.d.comb += [
            self._uart_receiver.rx.eq(self.rx),
            received.i.valid.eq(self._uart_receiver.o.valid),
            received.i.payload.eq(self._uart_receiver.o.payload),
            self.tx.eq(self._uart_transmitter.tx),
        ]
        connect(m, received.o, receiver.i)
        connect(m, receiver.request, self._decoder.request)
        connect(m, receiver.body, self._decoder.body)
        connect(m, self._decoder.answer, transmitter.answer)
        connect(m, self._decoder.write, transmitter.write)
        connect(m, transmitter.o, self._uart_transmitter.i)

    def _connect_commands(self, m):
        blocks = {
            Command.VERSION: self._identity,
            Command.RESET: self._reset,
            Command.WRITE: self._memory,
            Command.PUSH: self._push,
            Command.PULL: self._pull,
            Command.COUNTERS: self._counters,
            Command.RESULTS: self._results,
        }
        for port, group in zip(self._decoder.commands, GROUPS, strict=True):
            connect(m, port, blocks[group[0]].command)
        connect(m, self._queue.o, self._pull.record)
        m.d.comb += [
            self._queue.keep.eq(self._results.keep),
            self._reset.memory_idle.eq(self.memory_idle),
            self.core_reset.eq(self._reset.core_reset),
        ]

    def _connect_core(self, m):
        for name in self._push.shapes:
            connect(m, getattr(self._push, name), flipped(getattr(self, name)))
        for name in result_layouts(self.settings.core):
            connect(m, flipped(getattr(self, name)), getattr(self._queue, name))
        connect(m, self._memory.memory, flipped(self.memory))
        m.d.comb += [
            self._counters.counters.eq(self.counters),
            self._counters.words_read.eq(self.words_read),
            self._counters.dropped.eq(self._receiver.dropped),
            self.counters_clear.eq(self._counters.counters_clear),
        ]

    def _connect_lights(self, m):
        unanswered, answered, refused = Signal(range(self.OPEN)), Signal(), Signal()
        status = self.status
        m.d.sync += [
            answered.eq(status.valid & status.ready),
            refused.eq(status.valid & status.ready & (status.payload.code != 0)),
            unanswered.eq(unanswered + self._push.opened - answered),
            self.busy.eq(
                (unanswered != 0)
                | self._received.o.valid
                | self._receiver.busy
                | self._decoder.busy
                | self._uart_transmitter.busy
            ),
            self.error.eq(self.error | self._receiver.drop | self._decoder.failed | refused),
        ]
        with m.If(self.core_reset):
            m.d.sync += [unanswered.eq(0), answered.eq(0), refused.eq(0), self.error.eq(0)]
