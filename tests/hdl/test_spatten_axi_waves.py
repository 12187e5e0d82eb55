"""Timing diagrams of docs/integration.md are what the simulated top does.

``python -m tests.hdl.test_spatten_axi_waves`` prints them as they ought to be.
"""

from __future__ import annotations

import dataclasses
import json
import runpy
from collections.abc import Sequence
from typing import Any

import pytest

from hdl.spec.config import PRESETS
from hdl.spec.formats import COMMAND_BYTES
from hdl.spec.register_map import MAP
from tests.bench.axi_lite_bench import Access
from tests.bench.axi_system import AxiSystem, Queue
from tests.docs.documents import ROOT, documents

PAGE = documents()["docs/integration.md"]
TINY = PRESETS["tiny"]
LATENCY = 5
"""Cycles from a request taken to its first answer."""
IDLE = 6
"""Most cycles in which nothing changes that are drawn one by one."""


@dataclasses.dataclass(frozen=True)
class Diagram:
    """A part of a trace: ``before`` cycles ahead of the first one in which ``mark`` is 1, and ``length`` in all."""

    title: str
    mark: str
    before: int
    length: int
    signals: Sequence[str]


DIAGRAMS = [
    Diagram(
        "A register is written, then read",
        "s_axil_awvalid", 1, 10,
        (
            "s_axil_awvalid", "s_axil_awready", "s_axil_awaddr", "s_axil_wvalid", "s_axil_wready", "s_axil_wdata",
            "s_axil_bvalid", "s_axil_bready", "s_axil_arvalid", "s_axil_arready", "s_axil_araddr", "s_axil_rvalid",
            "s_axil_rready", "s_axil_rdata",
        ),
    ),
    Diagram(
        "From the doorbell to the interrupt: a NOP",
        "doorbell", 1, 80,
        (
            "s_axil_wvalid", "s_axil_bvalid", "m_axi_ctl_arvalid", "m_axi_ctl_araddr", "m_axi_ctl_arlen",
            "m_axi_ctl_rvalid", "m_axi_ctl_rlast", "m_axi_ctl_awvalid", "m_axi_ctl_awaddr", "m_axi_ctl_awlen",
            "m_axi_ctl_wvalid", "m_axi_ctl_wlast", "m_axi_ctl_bvalid", "irq",
        ),
    ),
    Diagram(
        "A channel reads rows of K",
        "m_axi_0_arvalid", 1, 44,
        ("m_axi_0_arvalid", "m_axi_0_arready", "m_axi_0_araddr", "m_axi_0_arlen", "m_axi_0_rvalid", "m_axi_0_rlast"),
    ),
    Diagram(
        "The last outputs, then the completion, then the interrupt",
        "last", 44, 52,
        (
            "m_axi_ctl_awvalid", "m_axi_ctl_awaddr", "m_axi_ctl_awlen", "m_axi_ctl_wvalid", "m_axi_ctl_wlast",
            "m_axi_ctl_bvalid", "irq",
        ),
    ),
]  # fmt: skip
MARKED = ("doorbell", "last")
"""Marks that are no ports: the write to the doorbell begins; the interrupt of the layer rises."""


def ports(block: Any) -> dict[str, Any]:
    """Name of a pin -> signal, as ``hdl.verilog`` names them."""
    buses = {"s_axil": block.s_axil, "m_axi_ctl": block.m_axi_ctl}
    buses |= {f"m_axi_{number}": bus for number, bus in enumerate(block.m_axi)}
    found = {f"{name}_{port}": getattr(bus, port) for name, bus in buses.items() for port in bus.signature.members}
    return found | {"irq": block.irq}


def trace() -> dict[str, list[int]]:
    """Values of the pins and marks, cycle by cycle, while software sets up a queue, and runs a NOP and a layer.

    The memory takes every request at once, and gives a beat each cycle.
    """
    example = runpy.run_path(str(ROOT / "examples/icarus/make_case.py"))
    case = example["case"](example["head"]())
    system = AxiSystem(TINY, case.memory, latency=LATENCY)
    queue, software = Queue(system, 0, log_commands=0, log_completions=0), system.software
    queue.commands, queue.completions = case.commands, case.completions
    everything = case.memory.base, case.memory.limit
    names = ports(system.block)
    wanted = sorted({name for diagram in DIAGRAMS for name in (*diagram.signals, diagram.mark)} - set(MARKED))
    found: dict[str, list[int]] = {name: [] for name in (*wanted, *MARKED)}
    doorbell = MAP.by_name["doorbell[0].tail"].address

    async def watch(ctx: Any) -> None:
        edge = ctx.tick().sample(*(names[name] for name in wanted))
        while True:
            _, _, *values = await edge
            for name, value in zip(wanted, values, strict=True):
                found[name].append(value)
            found["doorbell"].append(int(found["s_axil_awvalid"][-1] and found["s_axil_awaddr"][-1] == doorbell))
            risen = found["irq"][-1] and not any(found["irq"][-2:-1])
            seen = sum(now > before for before, now in zip(found["irq"], found["irq"][1:], strict=False))
            found["last"].append(int(risen and seen == 2))

    async def bench(ctx: Any) -> None:
        await ctx.tick().repeat(LATENCY)
        await software.manager.write(ctx, Access(MAP.by_name["timeout"].address, True, 1000))
        await software.manager.read(ctx, Access(MAP.by_name["id"].address))
        await system.start(ctx, case.bases)
        await software.write(ctx, "irq_enable", queue=1)
        await queue.open(ctx, readable=everything, writable=everything)
        for command in (bytes(COMMAND_BYTES), case.placed.command):
            await queue.submit(ctx, command)
            assert (await queue.completion(ctx))["code"] == 0
            await software.write(ctx, "irq_pending", queue=1)
        await ctx.tick().repeat(10 * LATENCY)

    system.run(bench, watch)
    return found


def waves(diagram: Diagram, traced: dict[str, list[int]]) -> dict[str, Any]:
    """WaveJSON. Addresses, data and the like are shown while their valid is 1."""
    start = traced[diagram.mark].index(1) - diagram.before
    part = slice(start, start + diagram.length)
    signals = [{"name": "aclk", "wave": "p" + "." * (diagram.length - 1)}]
    for name in diagram.signals:
        values = traced[name][part]
        kind = next((kind for kind in ("addr", "data", "len", "last") if name.endswith(kind)), "")
        if kind:
            valid = traced[name.removesuffix(kind) + "valid"][part]
            shown = [value if on else None for value, on in zip(values, valid, strict=True)]
            signals.append({"name": name, **(_bit(shown) if kind == "last" else _bus(shown, kind != "len"))})
        else:
            signals.append({"name": name, **_bit(values)})
    return {"signal": _cut(signals), "head": {"text": diagram.title, "tick": 0}}


def _cut(signals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of more than IDLE cycles in which nothing changes three are left, with a gap in the second."""
    kept: list[str] = []
    run = 0
    for column in (*map("".join, zip(*(signal["wave"] for signal in signals), strict=True)), ""):
        if column and set(column) == {"."}:
            run += 1
            continue
        gap = (".", "|", ".") if run > IDLE else "." * run
        kept += [mark * len(signals) for mark in gap] + [column] * bool(column)
        run = 0
    return [
        {**signal, "wave": wave} for signal, wave in zip(signals, map("".join, zip(*kept, strict=True)), strict=True)
    ]


def _bit(shown: list[Any]) -> dict[str, Any]:
    """A character for each cycle; one that is as before becomes a dot."""
    characters = ["x" if value is None else str(value) for value in shown]
    pairs = zip(characters, ["", *characters], strict=False)
    return {"wave": "".join("." if now == before else now for now, before in pairs)}


def _bus(shown: list[Any], hexadecimal: bool) -> dict[str, Any]:
    fresh = [index == 0 or shown[index] != shown[index - 1] for index in range(len(shown))]
    wave = "".join("." if not new else "x" if value is None else "=" for value, new in zip(shown, fresh, strict=True))
    data = [value for value, new in zip(shown, fresh, strict=True) if new and value is not None]
    return {"wave": wave, "data": " ".join(f"{value:x}" if hexadecimal else str(value) for value in data)}


def text(found: dict[str, Any]) -> str:
    """WaveJSON with a line for each signal."""
    lines = ",\n".join(f"  {json.dumps(signal)}" for signal in found["signal"])
    return f'{{"signal": [\n{lines}\n],\n"head": {json.dumps(found["head"])}}}\n'


@pytest.fixture(scope="module")
def traced():
    return trace()


def test_the_page_has_all_diagrams():
    told = [json.loads(block.text)["head"]["text"] for block in PAGE.blocks if block.language == "wavedrom"]
    assert told == [diagram.title for diagram in DIAGRAMS]


@pytest.mark.parametrize("number", range(len(DIAGRAMS)))
def test_diagram(number, traced):
    told = [block.text for block in PAGE.blocks if block.language == "wavedrom"][number]
    assert told == text(waves(DIAGRAMS[number], traced)), "python -m tests.hdl.test_spatten_axi_waves prints it"


if __name__ == "__main__":
    everything = trace()
    for each in DIAGRAMS:
        print(f"```wavedrom\n{text(waves(each, everything))}```\n")
