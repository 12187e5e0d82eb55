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
    """Verilog name of a port -> its attributes: streams as AXI4-Stream, ``clk`` and ``rst`` (active high).

    A component without streams has none.
    """
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
