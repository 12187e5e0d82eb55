"""The AXI managers of the accelerator, and what becomes of their faults."""

from __future__ import annotations

from amaranth.hdl import Cat, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.answer.fence import Fence
from hdl.axi.axi4 import AXI4Read, AXI4Write
from hdl.axi.read_manager import ReadManager
from hdl.axi.registers import fault_event
from hdl.axi.write_manager import TICKET_WIDTH, WriteManager, word_write
from hdl.command.descriptors import limited
from hdl.result.written_word import ADDRESS_WIDTH
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.system.queue_windows import word_window
from hdl.system.recovery import Recovery
from hdl.system.time_out import TimeOut

__all__ = ["BURSTS", "Buses", "bus_settings", "control_port"]

BURSTS = 16
"""Most bursts in flight of a manager."""
TABLE_WORDS = 64
"""Most words of commands and tables in flight."""


def bus_settings() -> data.StructLayout:
    """What the host sets of all managers, as the registers of these names."""
    both = data.StructLayout({"read": 9, "write": 9})
    hints = data.StructLayout({"arcache": 4, "awcache": 4, "arprot": 3, "awprot": 3})
    return data.StructLayout({"timeout": 32, "axcache": hints, "max_burst": both, "max_outstanding": both})


def control_port(address_width: int, data_width: int) -> wiring.Signature:
    """Read and write channels of one AXI4 port."""
    parts = [make(address_width=address_width, data_width=data_width) for make in (AXI4Read, AXI4Write)]
    return wiring.Signature({name: member for part in parts for name, member in part.members.items()})


def _log_bytes(width: int) -> int:
    return (width // 8).bit_length() - 1


class Buses(wiring.Component):
    """A read manager for each memory channel, one for tables, a write manager, and their :class:`Recovery`.

    It lies outside the reset of the rest, ``reset``, since what the bus owes is to be taken.

    Members
    -------
    settings : In(bus_settings)
    memory : In(MemoryPort).array(channels)      the core asks only for what it takes at once
    base : In(64).array(channels)                byte address of word 0 of each channel
    channel : In(word_window).array(channels)    words that may be read
    request, response, failed : as of :class:`hdl.system.port_reader.PortReader`, turned
    write : In(stream.Signature(word_write)), taken, answered : Out(TICKET_WIDTH)
    snap : In(1), reads_over : Out(1)            bursts of reads that had been asked for at ``snap`` are over
    words, surplus : Out(channels)               a bit for each channel: it gives a word, drops a beat
    quiet, soft_reset : In(1), queue : In(4)    as of :class:`hdl.system.recovery.Recovery`, with
    reset, halt, drop, hold, draining, drain_failed, drained, code, address, event : its outputs
    m_axi : Out(AXI4Read).array(channels)
    m_axi_ctl : Out(control_port)
    """

    OUTPUTS = ("reset", "halt", "drop", "hold", "draining", "drain_failed", "drained")

    def __init__(self, config: Config, *, address_bits: int = 64, word_width: int = 64):
        self.config, self.address_bits, self.word_width = config, address_bits, word_width
        channels, number = config.num_channels, ADDRESS_WIDTH - _log_bytes(word_width)
        read = AXI4Read(address_width=address_bits, data_width=config.channel_width)
        super().__init__(
            {
                "settings": In(bus_settings()),
                "memory": In(payloads.MemoryPort(config)).array(channels),
                "base": In(ADDRESS_WIDTH).array(channels),
                "channel": In(word_window(config)).array(channels),
                "request": In(stream.Signature(number)),
                "response": Out(stream.Signature(word_width, always_ready=True)),
                "write": In(stream.Signature(word_write(ADDRESS_WIDTH, word_width))),
                **dict.fromkeys(("taken", "answered"), Out(TICKET_WIDTH)),
                **dict.fromkeys(("snap", "quiet", "soft_reset"), In(1)),
                **dict.fromkeys(("failed", "reads_over", *self.OUTPUTS), Out(1)),
                **dict.fromkeys(("words", "surplus"), Out(channels)),
                "queue": In(4),
                "code": Out(8),
                "address": Out(ADDRESS_WIDTH),
                "event": Out(fault_event()),
                "m_axi": Out(read).array(channels),
                "m_axi_ctl": Out(control_port(address_bits, word_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        channels = self.config.num_channels
        m.submodules.time_out = time_out = TimeOut()
        m.submodules.recovery = recovery = Recovery(managers=channels + 2)
        m.d.comb += time_out.cycles.eq(self.settings.timeout)
        over = [self._channel(m, index) for index in range(channels)]
        over.append(self._tables(m, channels))
        self._writes(m, channels + 1)
        m.d.comb += [
            self.reads_over.eq(Cat(over).all()),
            recovery.quiet.eq(self.quiet),
            recovery.request.eq(self.soft_reset),
            recovery.queue.eq(self.queue),
            *(getattr(self, name).eq(getattr(recovery, name)) for name in (*self.OUTPUTS, "code", "address", "event")),
        ]
        return m

    def _manager(self, m, name, manager, kind, index):
        """What all managers have: settings, time-outs, stops and faults."""
        settings, recovery = self.settings, m.submodules.recovery
        m.submodules[name] = manager
        m.d.comb += [
            manager.max_burst.eq(settings.max_burst[kind]),
            manager.max_outstanding.eq(limited(settings.max_outstanding[kind], len(manager.max_outstanding))),
            manager.cache.eq(settings.axcache[f"a{kind[0]}cache"]),
            manager.prot.eq(settings.axcache[f"a{kind[0]}prot"]),
            manager.tick.eq(m.submodules.time_out.tick),
            manager.stop.eq(recovery.stop[index]),
            recovery.manager[index].code.eq(manager.fault.code),
            recovery.manager[index].idle.eq(manager.idle),
            recovery.manager[index].hung.eq(manager.hung),
        ]

    def _fence(self, m, name, manager):
        """Whether the bursts that the manager had begun at ``snap`` are over; after a fault nobody waits for them."""
        m.submodules[f"fence_{name}"] = fence = Fence(10)
        m.d.comb += [fence.enters.eq(manager.issued), fence.leaves.eq(manager.ended), fence.snap.eq(self.snap)]
        return fence.gone | (manager.fault.code != 0)

    def _channel(self, m, index):
        port, window, base = self.memory[index], self.channel[index], self.base[index]
        manager = ReadManager(self.config, address_width=self.address_bits, depth=BURSTS)
        self._manager(m, f"read_{index}", manager, "read", index)
        connect(m, flipped(port.request), manager.request)
        connect(m, manager.bus, flipped(self.m_axi[index]))
        low = _log_bytes(self.config.channel_width)
        m.d.comb += [
            port.response.valid.eq(manager.response.valid),
            port.response.payload.eq(manager.response.payload),
            manager.base.eq(base),
            manager.window_base.eq(window.base),
            manager.window_limit.eq(window.limit),
            m.submodules.recovery.manager[index].address.eq(base + (manager.fault.address << low)),
            self.words[index].eq(manager.response.valid),
            self.surplus[index].eq(manager.dropped),
        ]
        return self._fence(m, index, manager)

    def _tables(self, m, index):
        """The manager that reads commands and tables, whose windows are looked at before they are asked for."""
        low = _log_bytes(self.word_width)
        width = self.address_bits - low
        sizes = {"data_width": self.word_width, "word_width": width, "words": TABLE_WORDS}
        manager = ReadManager(self.config, address_width=self.address_bits, depth=BURSTS, **sizes)
        self._manager(m, "read_tables", manager, "read", index)
        connect(m, manager.response, flipped(self.response))
        m.d.comb += [
            manager.request.valid.eq(self.request.valid),
            manager.request.payload.eq(self.request.payload),
            self.request.ready.eq(manager.request.ready),
            manager.window_limit.eq(1 << width),
            self.failed.eq(manager.fault.code != 0),
            m.submodules.recovery.manager[index].address.eq(manager.fault.address << low),
            *self._channels(AXI4Read, manager.bus),
        ]
        return self._fence(m, "tables", manager)

    def _writes(self, m, index):
        """The manager of everything that is written; the gate in front of it has looked at windows."""
        low = _log_bytes(self.word_width)
        manager = WriteManager(data_width=self.word_width, address_width=self.address_bits, depth=BURSTS)
        self._manager(m, "writes", manager, "write", index)
        m.d.comb += [
            manager.i.valid.eq(self.write.valid),
            *(manager.i.payload[name].eq(self.write.payload[name]) for name in ("word", "data", "strobes")),
            self.write.ready.eq(manager.i.ready),
            manager.window_limit.eq(1 << (self.address_bits - low)),
            self.taken.eq(manager.taken),
            self.answered.eq(manager.answered),
            m.submodules.recovery.manager[index].address.eq(manager.fault.address << low),
            *self._channels(AXI4Write, manager.bus),
        ]

    def _channels(self, make, bus):
        """Statements that connect some channels of the control port."""
        signature = make(address_width=self.address_bits, data_width=self.word_width)
        for name, member in signature.members.items():
            mine, other = getattr(self.m_axi_ctl, name), getattr(bus, name)
            yield mine.eq(other) if member.flow == Out else other.eq(mine)
