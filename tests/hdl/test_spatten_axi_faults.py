"""The AXI top when something goes wrong: every command is answered, nothing else is written, and then all is right."""

import random

import pytest

from hdl.spec.formats import Code
from tests.bench.axi_reads import FAULTS as READ_FAULTS
from tests.bench.axi_scene import TINY, Scene

TABLES, WRITES = TINY.num_channels, TINY.num_channels + 1
"""FAULT.CHANNEL of the ports of tables and writes."""


async def check_told(scene, ctx, channel, code):
    """The registers tell of the first fault, and the queue is halted by it."""
    fault = await scene.until(ctx, "fault", "valid", 1)
    assert (fault["code"], fault["channel"], fault["write"]) == (code, channel, channel == WRITES), fault
    assert ctx.get(scene.system.block.irq)
    page = await scene.status(ctx)
    assert page["halted"] and page["code"] == code and not page["running"], page


async def check_goes_on(scene, ctx):
    """After RESUME the rest of the commands is done, and one more."""
    await scene.software.write(ctx, "fault", valid=1)
    await scene.software.write(ctx, "irq_pending", fault=1)
    failed = len(scene.completions)
    await scene.resume(ctx)
    await scene.submit(ctx, scene.layers[-1])
    await scene.settle(ctx)
    assert len(scene.completions) == len(scene.layers)
    assert all(scene.completions[number]["code"] == 0 for number in range(failed, len(scene.layers)))
    assert not ctx.get(scene.system.block.irq)


async def check_dead(scene, ctx):
    """A bus that gives nothing any more: the drain has failed, and software is told."""
    status = await scene.until(ctx, "status", "drain_failed", 1)
    assert status["draining"]
    assert (await scene.software.fields(ctx, "irq_pending"))["drained"]
    await scene.software.write(ctx, "fault", valid=1)
    await scene.software.write(ctx, "ctrl", enable=1, soft_reset=1)
    await ctx.tick().repeat(3 * scene.TIMEOUT)
    status = await scene.software.fields(ctx, "status")
    assert status["draining"] and status["drain_failed"] and not status["busy"]


CODES = {"silent": Code.TIMEOUT}


def few(buses, faults, always):
    """Every fault of every bus; those of ``make test`` are the first bus's, and ``always``."""
    return [
        pytest.param(bus, fault, marks=() if bus == buses[0] or (bus, fault) in always else pytest.mark.long)
        for bus in buses
        for fault in faults
    ]


@pytest.mark.parametrize(
    "bus, fault", few(["tables", 0, 1], READ_FAULTS, [(0, "slverr"), (1, "surplus"), (1, "silent")])
)
def test_reads(bus, fault):
    seed = f"{bus} {fault}"
    burst = random.Random(seed).randint(0, 12 if bus == "tables" else 3)
    scene = Scene(seed, 4, faults={bus: {burst: fault}})
    code = CODES.get(fault, Code.READ_ERROR)

    async def bench(ctx):
        await scene.start(ctx)
        await scene.submit(ctx, *scene.layers[:3])
        await scene.settle(ctx)
        scene.check(0, code)
        await check_told(scene, ctx, TABLES if bus == "tables" else bus, code)
        if fault == "silent":
            assert any(found["code"] for found in scene.completions.values())
            await check_dead(scene, ctx)
        else:
            await check_goes_on(scene, ctx)
            scene.check(0, code)

    scene.system.run(bench, cycles=60_000)


@pytest.mark.parametrize("burst", [0, 2, *(pytest.param(burst, marks=pytest.mark.long) for burst in (1, 3, 5, 9))])
@pytest.mark.parametrize("fault", ["slverr", "surplus", "silent"])
def test_writes(fault, burst):
    scene = Scene(f"{burst} {fault}", 4, faults={"writes": {burst: fault}})
    code = CODES.get(fault, Code.WRITE_ERROR)

    async def bench(ctx):
        await scene.start(ctx)
        await scene.submit(ctx, *scene.layers[:3])
        if fault == "silent":
            await check_dead(scene, ctx)  # the completions are not written, either
            scene.check(0, begun=3)
        else:
            await scene.settle(ctx)
            scene.check(0, code)
            await check_told(scene, ctx, WRITES, code)
            await check_goes_on(scene, ctx)
            scene.check(0, code)

    scene.system.run(bench, cycles=60_000)
