"""SpAtten in a SoC of LiteX: ``add_spatten(soc)`` in the constructor of the SoC is all.

It generates the Verilog of ``spatten_axi``, and puts registers, managers and the interrupt on the SoC's bus.
LiteX 2024.12.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from litedram.frontend.axi import LiteDRAMAXI2Native
from litex.gen import LiteXModule
from litex.soc.integration.soc import SoCRegion
from litex.soc.interconnect.axi import AXIInterface, AXILiteInterface
from migen import ClockSignal, Instance, ResetSignal, Signal

from hdl.pins import AXIPins
from hdl.spec.config import Config
from hdl.spec.register_map import ADDRESS_WIDTH
from hdl.verilog import TOPS, port_map, to_verilog

__all__ = ["SpAtten", "add_spatten"]

BUS_ADDRESS = 32
"""Bits of an address of LiteX's bus."""
_READ, _WRITE = ("ar", "r"), ("aw", "w", "b")


class SpAtten(LiteXModule):
    """``spatten_axi`` on the clock domain ``sys``.

    config: its configuration, as ``Config.load`` gives it. queues: of commands. folder: for the Verilog.

    bus : AXILiteInterface    registers; 32 bits of address as LiteX's bridges want them, of which 16 are used
    channels : list[AXIInterface]    managers of the memory channels, which never write
    control : AXIInterface    manager of commands and results
    ev.irq : Signal    level
    """

    def __init__(self, platform: Any, config: Config, *, queues: int = 2, folder: Path = Path("build")):
        top = AXIPins(config, queues=queues, address_bits=BUS_ADDRESS)
        ports = {name: len(value) for name, (value, _) in port_map(top).items()}
        self.bus = AXILiteInterface(data_width=32, address_width=BUS_ADDRESS)
        widths = {f"m_axi_{n}": config.channel_width for n in range(config.num_channels)}
        widths["m_axi_ctl"] = ports["m_axi_ctl_rdata"]
        managers = {name: AXIInterface(width, BUS_ADDRESS, id_width=1) for name, width in widths.items()}
        *self.channels, self.control = managers.values()
        self.ev = LiteXModule()
        self.ev.irq = Signal()
        pins = {"aclk": ClockSignal("sys"), "aresetn": ~ResetSignal("sys"), "irq": self.ev.irq}
        pins |= _pins("s_axil", self.bus, ports)
        for name, manager in managers.items():
            pins |= _pins(name, manager, ports)
        pins["s_axil_awaddr"] = self.bus.aw.addr[:ADDRESS_WIDTH]
        pins["s_axil_araddr"] = self.bus.ar.addr[:ADDRESS_WIDTH]
        directions = {name: direction for name, (_, direction) in port_map(top).items()}
        self.specials += Instance(TOPS["axi"], **{f"{directions[name]}_{name}": pins[name] for name in ports})
        for channel in self.channels:  # what only reads has no ports for it: idle, and answers are taken
            self.comb += [channel.aw.valid.eq(0), channel.w.valid.eq(0), channel.b.ready.eq(1)]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{config.name}_axi.v"
        path.write_text(to_verilog(config, top=top, name=TOPS["axi"]))
        platform.add_source(str(path))


def _pins(prefix: str, bus: Any, ports: dict[str, int]) -> dict[str, Any]:
    """Port -> signal of LiteX's interface: ``<prefix>_araddr`` is ``bus.ar.addr``."""
    found = {}
    for port in ports:
        name = port.removeprefix(f"{prefix}_")
        if name == port:
            continue
        channel = next(each for each in (*_WRITE[:1], *_READ[:1], "w", "b", "r") if name.startswith(each))
        found[port] = getattr(getattr(bus, channel), name.removeprefix(channel))
    return found


def add_spatten(
    soc: Any,
    preset: str = "tiny",
    *,
    name: str = "spatten",
    origin: int = 0x9000_0000,
    queues: int = 2,
    sdram: Any = None,
    folder: Path = Path("build"),
) -> SpAtten:
    """Add it to a SoC under ``name``: registers at ``origin``, managers on the bus, the interrupt of the same name.

    sdram: the SoC's LiteDRAM core: managers go there, to ports of their own, and not to the bus.

    The C headers that LiteX writes then have ``SPATTEN_BASE`` and ``SPATTEN_INTERRUPT``. docs/integration.md says what
    is to be known of the bus. ValueError unless it has 32 bits, as registers have: of a wider one LiteX makes two reads
    where one is asked for.
    """
    if soc.bus.data_width != 32:
        raise ValueError(f"bus_data_width must be 32 with SpAtten, not {soc.bus.data_width}")
    core = SpAtten(soc.platform, Config.load(preset), queues=queues, folder=folder)
    soc.add_module(name=name, module=core)
    region = SoCRegion(origin=origin, size=1 << ADDRESS_WIDTH, cached=False)
    soc.bus.add_slave(name=name, slave=core.bus, region=region)
    managers = {str(number): channel for number, channel in enumerate(core.channels)} | {"ctl": core.control}
    for part, manager in managers.items():
        if sdram is None:
            soc.bus.add_master(name=f"{name}_{part}", master=manager)
        else:
            frontend = LiteDRAMAXI2Native(
                manager,
                sdram.crossbar.get_port(data_width=manager.data_width),
                base_address=soc.bus.regions["main_ram"].origin,
            )
            soc.add_module(name=f"{name}_{part}_frontend", module=frontend)
    soc.irq.add(name)
    return core
