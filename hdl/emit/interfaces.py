"""What tools of vendors want to know of ports: attributes by which Vivado's block designs infer bus interfaces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import stream, wiring

__all__ = ["port_attributes", "streams_of"]


def streams_of(signature: wiring.Signature, prefix: str = "") -> Iterator[tuple[str, stream.Signature]]:
    """Name (as of its ports, without ``_valid``) and signature of every stream of a component, in their order."""
    for name, member in signature.members.items():
        if not member.is_signature:
            continue
        for path in _paths(f"{prefix}{name}", member.dimensions):
            if isinstance(member.signature, stream.Signature):
                yield path, member.signature
            else:
                yield from streams_of(member.signature, f"{path}_")


def _paths(name: str, dimensions: tuple[int, ...]) -> Iterator[str]:
    if not dimensions:
        yield name
    else:
        for index in range(dimensions[0]):
            yield from _paths(f"{name}_{index}", dimensions[1:])


_AXIS = ("tdata", "tvalid", "tready")


def _is_axi(signature: wiring.Signature) -> bool:
    """Whether it has the signals of AXI4 or AXI4-Lite, or of AXI4-Stream."""
    names = set(signature.members)
    return {"araddr", "arvalid"} <= names or {"awaddr", "awvalid"} <= names or set(_AXIS) == names


def _axi_buses(signature: wiring.Signature) -> Iterator[tuple[str, wiring.Signature]]:
    """Name (as of its ports, in front of the signal) and signature of every bus whose signals have AXI's names."""
    for name, member in signature.members.items():
        if member.is_signature and _is_axi(member.signature):
            for path in _paths(name, member.dimensions):
                yield path, member.signature


def _axi(name: str, signature: wiring.Signature) -> dict[str, dict[str, str]]:
    """Attributes of the ports of one such bus."""
    members = signature.members
    if set(members) == set(_AXIS):
        kind, width = "axis", Shape.cast(members["tdata"].shape).width
        facts = f"TDATA_NUM_BYTES {width // 8}, HAS_TREADY 1, HAS_TLAST 0, HAS_TKEEP 0, HAS_TSTRB 0, TUSER_WIDTH 0"
    else:
        kind, lite = "aximm", "rlast" not in members and "wlast" not in members
        modes = {(True, True): "READ_WRITE", (True, False): "READ_ONLY", (False, True): "WRITE_ONLY"}
        data, address = ("rdata", "araddr") if "araddr" in members else ("wdata", "awaddr")
        facts = (
            f"PROTOCOL {'AXI4LITE' if lite else 'AXI4'}, DATA_WIDTH {Shape.cast(members[data].shape).width}, "
            f"ADDR_WIDTH {Shape.cast(members[address].shape).width}, ID_WIDTH {0 if lite else 1}, "
            f"READ_WRITE_MODE {modes['araddr' in members, 'awaddr' in members]}"
        )
    found = {
        f"{name}_{part}": {"X_INTERFACE_INFO": f"xilinx.com:interface:{kind}:1.0 {name} {part.upper()}"}
        for part in members
    }
    found[next(iter(found))]["X_INTERFACE_PARAMETER"] = f"XIL_INTERFACENAME {name}, {facts}"
    return found


def _pins(names: list[str]) -> dict[str, dict[str, str]]:
    """``aclk`` and ``aresetn`` (active low) of the buses of these names."""
    return {
        "aclk": {
            "X_INTERFACE_INFO": "xilinx.com:signal:clock:1.0 aclk CLK",
            "X_INTERFACE_PARAMETER": (
                f"XIL_INTERFACENAME aclk, ASSOCIATED_BUSIF {':'.join(names)}, ASSOCIATED_RESET aresetn"
            ),
        },
        "aresetn": {
            "X_INTERFACE_INFO": "xilinx.com:signal:reset:1.0 aresetn RST",
            "X_INTERFACE_PARAMETER": "XIL_INTERFACENAME aresetn, POLARITY ACTIVE_LOW",
        },
    }


def _stream(name: str, signature: stream.Signature) -> dict[str, dict[str, str]]:
    """Attributes of the ports of one stream. TDATA is of whole bytes; a payload of other widths is TUSER."""
    width = Shape.cast(signature.members["payload"].shape).width
    whole = width % 8 == 0
    sizes = f"TDATA_NUM_BYTES {width // 8}, TUSER_WIDTH 0" if whole else f"TDATA_NUM_BYTES 0, TUSER_WIDTH {width}"
    parts = {"valid": "TVALID", "ready": "TREADY", "payload": "TDATA" if whole else "TUSER"}
    if signature.always_ready:
        del parts["ready"]
    if signature.always_valid:
        del parts["valid"]
    found = {
        f"{name}_{part}": {"X_INTERFACE_INFO": f"xilinx.com:interface:axis:1.0 {name} {role}"}
        for part, role in parts.items()
    }
    ready = int(not signature.always_ready)
    found[next(iter(found))]["X_INTERFACE_PARAMETER"] = (
        f"XIL_INTERFACENAME {name}, {sizes}, HAS_TREADY {ready}, HAS_TLAST 0, HAS_TKEEP 0, HAS_TSTRB 0"
    )
    return found


def port_attributes(top: Any) -> dict[str, dict[str, str]]:
    """Verilog name of a port -> its attributes.

    Of a top with ``aclk``: buses of AXI4, AXI4-Lite and AXI4-Stream, ``aclk``, ``aresetn`` (active low) and ``irq``;
    else streams as AXI4-Stream, ``clk`` and ``rst`` (active high). A component without any of them has none.
    """
    if "aclk" in top.signature.members:
        buses = dict(_axi_buses(top.signature))
        pins = _pins(list(buses))
        for name, signature in buses.items():
            pins |= _axi(name, signature)
        if "irq" in top.signature.members:
            pins["irq"] = {
                "X_INTERFACE_INFO": "xilinx.com:signal:interrupt:1.0 irq INTERRUPT",
                "X_INTERFACE_PARAMETER": "XIL_INTERFACENAME irq, SENSITIVITY LEVEL_HIGH",
            }
        return pins
    streams = dict(streams_of(top.signature))
    found: dict[str, dict[str, str]] = {}
    for name, signature in streams.items():
        found |= _stream(name, signature)
    if streams:
        buses = ":".join(streams)
        found["clk"] = {
            "X_INTERFACE_INFO": "xilinx.com:signal:clock:1.0 clk CLK",
            "X_INTERFACE_PARAMETER": f"XIL_INTERFACENAME clk, ASSOCIATED_BUSIF {buses}, ASSOCIATED_RESET rst",
        }
        found["rst"] = {
            "X_INTERFACE_INFO": "xilinx.com:signal:reset:1.0 rst RST",
            "X_INTERFACE_PARAMETER": "XIL_INTERFACENAME rst, POLARITY ACTIVE_HIGH",
        }
    return found
