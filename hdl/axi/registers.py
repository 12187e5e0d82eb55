"""The registers of the AXI top: bank, interrupts, first fault, counters, and what they tell of the configuration."""

from __future__ import annotations

from collections.abc import Iterable

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.axi.axi_lite import AXI4Lite
from hdl.axi.capabilities import capabilities
from hdl.axi.counter_window import ChannelCounters, CounterWindow
from hdl.axi.register_bank import RegisterBank
from hdl.axi.register_layouts import clear_layout, field_layout, reset_values, written_layout
from hdl.control.counters import counters_layout
from hdl.spec.config import Config
from hdl.spec.register_map import ADDRESS_WIDTH, MAP, Kind

__all__ = ["Registers", "fault_event", "interrupt_event", "status_layout"]


def fault_event() -> data.StructLayout:
    """A fault in this cycle, if ``valid``."""
    return data.StructLayout(
        {
            "valid": 1,
            "code": 8,  # FAULT.CODE
            "queue": 4,
            "channel": 7,
            "write": 1,
            "address": 64,  # byte
        }
    )


def interrupt_event(queues: int) -> data.StructLayout:
    """Causes of interrupts that the registers do not see by themselves, each for a cycle."""
    return data.StructLayout(
        {
            "drained": 1,  # a soft reset is over
            "queue": queues,  # a bit for each queue: new completions
        }
    )


def status_layout() -> data.StructLayout:
    """Bits of STATUS."""
    return data.StructLayout({"busy": 1, "halted": 1, "draining": 1, "drain_failed": 1, "pair_open": 1})


class Registers(wiring.Component):
    """All registers of docs/registers.md, for a configuration.

    The first fault stands until software clears FAULT.VALID; every fault raises its interrupt. CTRL.SNAPSHOT copies the
    counters, CTRL.CLEAR clears those of the channels (and by ``pulse.ctrl.clear`` the core's). To be outside the core's
    reset: CTRL.SOFT_RESET does not change registers. Times of an access: :class:`hdl.axi.register_bank.RegisterBank`;
    ``irq`` follows its causes by 2 cycles.

    Members
    -------
    s_axil : In(AXI4Lite(address_width=ADDRESS_WIDTH))
    irq : Out(1)
    stored, pulse, written : Out(…)    as of :class:`hdl.axi.register_bank.RegisterBank`
    clear : In(clear_layout(registers))
    status : In(status_layout())
    doorbell : In(field_layout(registers, Kind.VALUE)["doorbell"])    a structure for each queue
    event : In(interrupt_event(queues))
    fault : In(fault_event())
    counters : In(counters_layout(config))
    words : In(num_channels)           a bit for each channel: it gives a word
    surplus : In(num_channels)         a bit for each channel: a beat is dropped
    """

    def __init__(self, config: Config, *, queues: int = 2, address_bits: int = 64, features: Iterable[str] = ()):
        """``queues``: of commands, 1 to 8; ``address_bits``: of an address of memory, 32 to 64."""
        self.config, self.queues = config, queues
        self.capabilities = capabilities(config, queues=queues, address_bits=address_bits, features=features)
        self.registers = MAP.of_sizes(channels=config.num_channels, queues=queues, address_bits=address_bits)
        stored = field_layout(self.registers, Kind.STORED)
        super().__init__(
            {
                "s_axil": In(AXI4Lite(address_width=ADDRESS_WIDTH)),
                "irq": Out(1),
                "stored": Out(stored, init=reset_values(self.registers)),
                "pulse": Out(field_layout(self.registers, Kind.PULSE)),
                "written": Out(written_layout(self.registers)),
                "clear": In(clear_layout(self.registers)),
                "status": In(status_layout()),
                "doorbell": In(field_layout(self.registers, Kind.VALUE)["doorbell"].shape),
                "event": In(interrupt_event(queues)),
                "fault": In(fault_event()),
                "counters": In(counters_layout(config)),
                "words": In(config.num_channels),
                "surplus": In(config.num_channels),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = RegisterBank(self.registers)
        m.submodules.window = window = CounterWindow(self.config)
        m.submodules.channels = channels = ChannelCounters(self.config)
        wiring.connect(m, wiring.flipped(self.s_axil), bank.bus)
        for name in ("stored", "pulse", "written"):
            m.d.comb += Value.cast(getattr(self, name)).eq(Value.cast(getattr(bank, name)))
        m.d.comb += [
            Value.cast(bank.clear).eq(Value.cast(self.clear)),
            Value.cast(bank.value.doorbell).eq(Value.cast(self.doorbell)),
            channels.words.eq(self.words),
            channels.surplus.eq(self.surplus),
            channels.clear.eq(bank.pulse.ctrl.clear),
            window.core.eq(self.counters),
            window.channels.eq(channels.values),
            window.take.eq(bank.pulse.ctrl.snapshot),
            window.word.eq(bank.word_counter),
            bank.data_counter.eq(window.data),
            bank.value.status.snapshot_busy.eq(window.busy),
            *(bank.value.status[name].eq(self.status[name]) for name in self.status.shape().members),
            *(
                bank.value[register][field].eq(value)
                for register, fields in self.capabilities.items()
                for field, value in fields.items()
            ),
        ]
        self._interrupts(m, bank, window.done)
        self._faults(m, bank)
        return m

    def _interrupts(self, m, bank, snapshot):
        events = {
            "fault": self.fault.valid,
            "drained": self.event.drained,
            "snapshot": snapshot,
            "queue": self.event.queue,
        }
        active = [bank.sticky.irq_pending[name] & bank.stored.irq_enable[name] for name in events]
        m.d.comb += [
            bank.event.irq_pending[name].eq(event | bank.pulse.irq_test[name]) for name, event in events.items()
        ]
        m.d.sync += self.irq.eq(Cat(*active).any())

    def _faults(self, m, bank):
        """A fault that comes while one stands, also in the cycle in which software clears it, is not the first."""
        first = Signal()
        m.d.comb += [first.eq(self.fault.valid & ~bank.sticky.fault.valid), bank.event.fault.valid.eq(first)]
        held = Signal(fault_event(), reset_less=True)
        with m.If(first):
            m.d.sync += held.eq(self.fault)
        m.d.comb += [
            *(bank.value.fault[name].eq(held[name]) for name in ("code", "queue", "channel", "write")),
            bank.value.fault_address_lo.address.eq(held.address[:32]),
            bank.value.fault_address_hi.address.eq(held.address[32:]),
        ]
