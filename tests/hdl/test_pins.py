"""Tops with pins of AXI: their names, widths and attributes, and that nothing is left out."""

import random

import pytest
from amaranth.hdl import ClockDomain, Module, Shape, Value

from hdl.emit.interfaces import port_attributes, streams_of
from hdl.pins import AXIPins, StreamPins, _joined
from hdl.spatten import SpAtten
from hdl.spec.config import PRESETS
from hdl.verilog import TOPS, port_map, port_widths, top_of
from tests.bench.harness import simulate

TINY = PRESETS["tiny"]
ASK = ("id", "addr", "len", "size", "burst", "cache", "prot", "valid", "ready")
READ = [*(f"ar{part}" for part in ASK), *(f"r{part}" for part in ("id", "data", "resp", "last", "valid", "ready"))]
WRITE = [
    *(f"aw{part}" for part in ASK),
    *(f"w{part}" for part in ("data", "strb", "last", "valid", "ready")),
    *(f"b{part}" for part in ("id", "resp", "valid", "ready")),
]
FULL = {f"{channel}{part}" for channel in ("ar", "aw", "r", "w", "b") for part in ("id", *ASK[2:6], "last")}
LITE = [name for name in READ + WRITE if name not in FULL]
"""Without what AXI4 has more than AXI4-Lite."""


def silent(top):
    top._MustUse__silence = True
    inner = getattr(top, "inner", None)
    for part in (inner, getattr(inner, "registers", None)):
        if part is not None:
            part._MustUse__silence = True
    return top


@pytest.mark.parametrize("preset", PRESETS)
def test_ports_of_the_axi_top(preset):
    config = PRESETS[preset]
    top = silent(AXIPins(config, queues=3, address_bits=40))
    widths = port_widths(top)
    channels = [f"m_axi_{n}" for n in range(config.num_channels)]
    buses = {"s_axil": LITE, "m_axi_ctl": READ + WRITE, **dict.fromkeys(channels, READ)}
    assert set(widths) == {"aclk", "aresetn", "irq"} | {
        f"{bus}_{part}" for bus, parts in buses.items() for part in parts
    }
    assert widths["m_axi_0_rdata"] == config.channel_width and widths["m_axi_0_araddr"] == 40
    assert widths["m_axi_ctl_wdata"] == min(max(config.channel_width, 64), 256)
    assert (widths["s_axil_awaddr"], widths["s_axil_wdata"], widths["m_axi_0_arid"]) == (16, 32, 1)
    directions = {name: direction for name, (_, direction) in port_map(top).items()}
    assert directions["s_axil_awvalid"] == directions["m_axi_ctl_bvalid"] == directions["aresetn"] == "i"
    assert directions["irq"] == directions["m_axi_0_arvalid"] == directions["m_axi_ctl_wvalid"] == "o"


def test_attributes_of_the_axi_top():
    top = silent(AXIPins(TINY))
    found = port_attributes(top)
    assert set(found) == set(port_map(top))
    assert found["m_axi_ctl_wdata"]["X_INTERFACE_INFO"] == "xilinx.com:interface:aximm:1.0 m_axi_ctl WDATA"
    facts = {name: part["X_INTERFACE_PARAMETER"] for name, part in found.items() if "X_INTERFACE_PARAMETER" in part}
    assert "PROTOCOL AXI4LITE, DATA_WIDTH 32, ADDR_WIDTH 16" in facts["s_axil_awaddr"]
    assert "PROTOCOL AXI4, DATA_WIDTH 64" in facts["m_axi_0_arid"] and "READ_ONLY" in facts["m_axi_0_arid"]
    assert "READ_WRITE_MODE READ_WRITE" in facts["m_axi_ctl_arid"]
    assert "ASSOCIATED_BUSIF s_axil:m_axi_0:m_axi_1:m_axi_ctl, ASSOCIATED_RESET aresetn" in facts["aclk"]
    assert "ACTIVE_LOW" in facts["aresetn"] and "LEVEL_HIGH" in facts["irq"]


@pytest.mark.parametrize("preset", PRESETS)
def test_ports_of_the_stream_top(preset):
    config = PRESETS[preset]
    core, top = silent(SpAtten(config)), silent(StreamPins(config))
    widths, mine = port_widths(core), port_widths(top)
    want = {"aclk": 1, "aresetn": 1}
    for name, signature in streams_of(core.signature):
        width = Shape.cast(signature.members["payload"].shape).width
        if name.startswith("memory_"):
            _, channel, part = name.split("_")
            pins = f"{'m' if part == 'request' else 's'}_axis_memory_{channel}"
        else:
            pins = f"{'s' if name in ('job', 'layer', 'heads', 'ids') else 'm'}_axis_{name}"
        want |= {f"{pins}_tdata": (width + 7) // 8 * 8, f"{pins}_tvalid": 1, f"{pins}_tready": 1}
    plain = {name for name, member in core.signature.members.items() if member.is_port}
    assert mine == want | {name: widths[name] for name in plain}
    assert set(port_attributes(top)) == set(mine) - plain
    directions = {name: direction for name, (_, direction) in port_map(top).items()}
    assert (directions["s_axis_job_tdata"], directions["s_axis_job_tready"]) == ("i", "o")
    assert (directions["m_axis_memory_0_tdata"], directions["m_axis_memory_0_tready"]) == ("o", "i")


def test_pins_carry_the_streams():
    """What stands at the pins of every stream is what stands at the core's port; TDATA is filled with zeros."""
    top = StreamPins(TINY)
    m, rng = Module(), random.Random(1)
    m.domains.sync = ClockDomain()
    pairs = []
    for name, ports in top.streams.items():
        pins = getattr(top, name)
        for mine, port in zip(pins, ports, strict=True) if isinstance(ports, list) else [(pins, ports)]:
            m.d.comb += _joined(mine, port, name.startswith("m_"))
            pairs.append((name.startswith("m_"), mine, port))
    assert len(pairs) == len(list(streams_of(top.inner.signature)))
    silent(top)

    async def bench(ctx):
        for _ in range(20):
            for out, mine, port in pairs:
                payload = Value.cast(port.payload)
                value, valid, ready = rng.getrandbits(len(payload)), rng.randint(0, 1), rng.randint(0, 1)
                ctx.set(payload if out else mine.tdata, value)
                ctx.set(port.valid if out else mine.tvalid, valid)
                ctx.set(mine.tready if out else port.ready, ready)
                seen = (mine.tdata, mine.tvalid, port.ready) if out else (payload, port.valid, mine.tready)
                assert tuple(ctx.get(signal) for signal in seen) == (value, valid, ready)

    simulate(m, bench, cycles=100)


def test_kinds():
    assert list(TOPS) == ["core", "axi", "stream"]
    for kind in TOPS:
        assert silent(top_of(TINY, kind)).signature.members
