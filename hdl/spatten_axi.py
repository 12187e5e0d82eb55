"""The accelerator as a part of a system on chip: registers, commands in memory, AXI4."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.answer.interrupts import Coalescer
from hdl.axi.axi4 import AXI4Read
from hdl.axi.axi_lite import AXI4Lite
from hdl.axi.register_layouts import address_of
from hdl.axi.registers import Registers
from hdl.result.output_pieces import MAX_WORD_WIDTH
from hdl.spatten import SpAtten
from hdl.spec.config import Config
from hdl.spec.register_map import ADDRESS_WIDTH as REGISTER_ADDRESS_WIDTH
from hdl.system.buses import Buses, control_port
from hdl.system.command_system import CommandSystem
from hdl.system.queue_control import QueueControl

__all__ = ["FEATURES", "SpAttenAXI"]

FEATURES = ("append", "quantize_query", "float_results", "probabilities", "write_back")
"""Of hdl.axi.capabilities.FEATURES."""


def control_width(config: Config) -> int:
    """Bits of a word of the port of commands and results: those of a channel, from 64 to MAX_WORD_WIDTH."""
    return min(max(config.channel_width, 64), MAX_WORD_WIDTH)


class SpAttenAXI(wiring.Component):
    """:class:`hdl.spatten.SpAtten` with docs/registers.md and docs/commands.md as its only interface.

    A soft reset resets the core and the commands; registers and managers live on, so that what the bus owes is taken.

    Members
    -------
    s_axil : In(AXI4Lite(address_width=16))
    irq : Out(1)                   level
    m_axi : Out(AXI4Read).array(num_channels)    planes of Q, K and V
    m_axi_ctl : Out(control_port)                commands and tables; results, tables and completions
    """

    def __init__(self, config: Config, *, queues: int = 2, address_bits: int = 64):
        """``queues``: of commands, 1 to 8; ``address_bits``: of an address of memory, 32 to 64."""
        self.config, self.queues, self.address_bits = config, queues, address_bits
        self.word_width = control_width(config)
        self.registers = Registers(config, queues=queues, address_bits=address_bits, features=FEATURES)
        read = AXI4Read(address_width=address_bits, data_width=config.channel_width)
        super().__init__(
            {
                "s_axil": In(AXI4Lite(address_width=REGISTER_ADDRESS_WIDTH)),
                "irq": Out(1),
                "m_axi": Out(read).array(config.num_channels),
                "m_axi_ctl": Out(control_port(address_bits, self.word_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, queues = self.config, self.queues
        m.submodules.registers = registers = self.registers
        m.submodules.buses = buses = Buses(config, address_bits=self.address_bits, word_width=self.word_width)
        reset = ResetInserter(buses.reset)
        core, system = SpAtten(config), CommandSystem(config, queues=queues, word_width=self.word_width)
        m.submodules.core, m.submodules.system = reset(core), reset(system)
        connect(m, flipped(self.s_axil), registers.s_axil)
        for name in ("layer", "job", "heads", "ids"):
            connect(m, getattr(system, name), getattr(core, name))
        for name in ("status", "survivor", "out", "prob"):
            connect(m, getattr(core, name), getattr(system, name))
        m.d.comb += [
            self.irq.eq(registers.irq),
            core.window_base.eq(system.all.base),
            core.window_limit.eq(system.all.limit),
            core.counters_clear.eq(registers.pulse.ctrl.clear),
            registers.counters.eq(core.counters),
        ]
        cycle = Signal(64)
        m.d.sync += cycle.eq(cycle + 1)
        m.d.comb += system.cycle.eq(cycle)
        self._buses(m, core, system)
        self._status(m, *self._queues(m, system))
        return m

    def _buses(self, m, core, system):
        """Memory of core and commands, settings and faults of the managers."""
        registers, buses = m.submodules.registers, m.submodules.buses
        connect(m, buses.m_axi_ctl, flipped(self.m_axi_ctl))
        for channel, bus in enumerate(self.m_axi):
            connect(m, buses.m_axi[channel], flipped(bus))
            connect(m, core.memory[channel], buses.memory[channel])
        for name in ("request", "write"):
            connect(m, getattr(system, name), getattr(buses, name))
        connect(m, buses.response, system.response)
        m.d.comb += [
            *(buses.settings[name].eq(registers.stored[name]) for name in ("axcache", "max_burst", "max_outstanding")),
            buses.settings.timeout.eq(registers.stored.timeout.cycles),
            buses.soft_reset.eq(registers.pulse.ctrl.soft_reset),
            buses.queue.eq(system.current),
            buses.snap.eq(system.snap),
            *(getattr(system, n).eq(getattr(buses, n)) for n in ("failed", "taken", "answered", "reads_over")),
            *(getattr(system, n).eq(getattr(buses, n)) for n in ("drop", "hold")),
            system.fault_address.eq(buses.address),
            *(getattr(registers, name).eq(getattr(buses, name)) for name in ("words", "surplus")),
            registers.fault.eq(buses.event),
            registers.event.drained.eq(buses.drained),
        ]
        for index in range(self.config.num_channels):
            base = address_of(registers.stored.channel[index], "base")
            m.d.comb += [
                buses.base[index].eq(base),
                system.base[index].eq(base),
                buses.channel[index].eq(system.channel[index]),
            ]

    def _queues(self, m, system):
        """Settings, counts and state of every queue; two bits for each: a command of it is in flight, or waits."""
        registers, buses = m.submodules.registers, m.submodules.buses
        working, waiting = Signal(self.queues), Signal(self.queues)
        serve = registers.stored.ctrl.enable & ~buses.reset
        for index in range(self.queues):
            m.submodules[f"queue_{index}"] = control = QueueControl()
            m.submodules[f"coalescer_{index}"] = coalescer = Coalescer()
            stored, page = registers.stored.queue[index], registers.stored.doorbell[index]
            told, pulse = registers.doorbell[index], registers.pulse.queue[index].ctrl
            pause, busy = system.queue[index].pause, working[index] | ~system.idle[index]
            m.d.comb += [
                working[index].eq(system.reading[index] | (system.begun[index] != system.tail[index])),
                waiting[index].eq(~system.idle[index] & ~pause),
                control.enable.eq(stored.ctrl.enable),
                control.serve.eq(serve & ~registers.stored.ctrl.halt),
                control.abort.eq(pulse.abort),
                control.resume.eq(pulse.resume),
                control.fault.eq(buses.halt),
                control.fault_code.eq(buses.code),
                control.reset.eq(buses.reset),
                control.busy.eq(busy),
                system.abandon[index].eq(control.abandon),
                *_settings(system, index, control, stored, page),
                pause.eq(registers.stored.ctrl.halt & (control.cancel == 0)),
                told.head.count.eq(system.head[index]),
                told.completion_tail.count.eq(system.tail[index]),
                told.status.running.eq(stored.ctrl.enable & ~control.halted),
                told.status.halted.eq(control.halted),
                told.status.busy.eq(busy),
                told.status.code.eq(control.code),
                registers.clear.doorbell[index].tail.count.eq(~control.counts),
                registers.clear.doorbell[index].completion_head.count.eq(~control.counts),
                coalescer.enable.eq(control.counts),
                coalescer.published.eq(system.published[index]),
                coalescer.urgent.eq(system.urgent),
                *(getattr(coalescer, name).eq(stored.coalesce[name]) for name in ("count", "cycles")),
                registers.event.queue[index].eq(coalescer.event),
            ]
        return working, waiting

    def _status(self, m, working, waiting):
        buses, status, registers = m.submodules.buses, m.submodules.registers.status, m.submodules.registers
        busy = working | waiting
        halted = Cat(m.submodules[f"queue_{index}"].halted for index in range(self.queues)).any()
        m.d.comb += [
            buses.quiet.eq(~working.any()),
            status.pair_open.eq(m.submodules.system.pair_open),
            status.busy.eq(busy.any()),
            status.halted.eq((halted | registers.stored.ctrl.halt) & ~busy.any()),
            status.draining.eq(buses.draining),
            status.drain_failed.eq(buses.drain_failed),
        ]


def _settings(system, index, control, stored, page):
    """Statements that give a queue what the host has set."""
    settings, ring, window = system.queue[index], system.ring[index], system.window[index]
    readable, writable = (
        {"base": address_of(stored, f"{name}_base"), "limit": address_of(stored, f"{name}_limit")}
        for name in ("read", "write")
    )
    yield from (
        settings.enable.eq(control.active),
        settings.run.eq(control.run),
        settings.flush.eq(~control.counts),
        settings.cancel.eq(control.cancel),
        settings.base.eq(address_of(stored, "base")),
        settings.log_size.eq(stored.size.commands),
        settings.tail.eq(page.tail.count),
        settings.log_completions.eq(stored.size.completions),
        settings.completion_head.eq(page.completion_head.count),
        ring.enable.eq(control.active),
        ring.written.eq(control.counts),
        ring.base.eq(address_of(stored, "completion_base")),
        ring.log_size.eq(stored.size.completions),
        window.enable.eq(control.active),
    )
    for view, values in ((settings.readable, readable), (window.readable, readable), (window.writable, writable)):
        yield from (view[name].eq(value) for name, value in values.items())
