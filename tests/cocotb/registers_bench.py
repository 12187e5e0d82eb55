"""Runs in the simulator: cocotbext-axi's AxiLiteMaster at the registers, beside their model."""

from __future__ import annotations

import json
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from hdl.spec.register_map import MAP
from tests.bench.register_model import OKAY, RegisterModel

SIZES = json.loads(os.environ.get("SIZES", "{}"))
GIVEN = json.loads(os.environ.get("GIVEN", "{}"))
COUNT = int(os.environ.get("COUNT", "300"))
SNAPSHOT = MAP.by_name["ctrl"].register.field("snapshot").mask
RESPONSES = {OKAY: AxiResp.OKAY, 2: AxiResp.SLVERR}


async def start(dut, seed: int, stall: float) -> tuple[AxiLiteMaster, RegisterModel]:
    """A master after reset, with pauses on all channels, and the registers as they must be."""
    random.seed(f"{seed} {stall}")
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value = 1
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 2)
    write, read = master.write_if, master.read_if
    for channel in (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel):
        channel.set_pause_generator(pauses(stall))
    return master, fresh()


def fresh() -> RegisterModel:
    model = RegisterModel(MAP.of_sizes(**SIZES))
    for register, fields in GIVEN.items():
        model.values |= {(register, field): value for field, value in fields.items()}
    return model


def pauses(stall: float):
    while True:
        yield random.random() < stall


def any_address(model: RegisterModel) -> int:
    address = random.choice([*model.places] * 4 + [*model.windows, 0x30, 0x3FC, 0x4000, 0x8000, 0xFFFC])
    return address + random.choice([0, 0, 0, 1, 2, 3])


async def read(master: AxiLiteMaster, model: RegisterModel, address: int) -> None:
    length = random.randint(1, 4 - address % 4)
    answer = await with_timeout(master.read(address, length), 10, "us")
    response, word = model.read(address)
    assert answer.resp == RESPONSES[response], f"read of {address:x}: {answer.resp}"
    expected = word.to_bytes(4, "little")[address % 4 : address % 4 + length]
    assert response != OKAY or bytes(answer.data) == expected, f"read of {address:x}"


async def write(master: AxiLiteMaster, model: RegisterModel, address: int) -> None:
    """Some bytes of a word; the counters are not copied, which would take a while."""
    word = random.choice([random.getrandbits(32), 0xFFFFFFFF])
    if address & ~3 == MAP.by_name["ctrl"].address:
        word &= ~SNAPSHOT
    length, first = random.randint(1, 4 - address % 4), address % 4
    answer = await with_timeout(master.write(address, word.to_bytes(4, "little")[first : first + length]), 10, "us")
    effects = model.write(address, word, ((1 << length) - 1) << first)
    assert answer.resp == RESPONSES[effects.response], f"write to {address:x}: {answer.resp}"
    for (register, field), bits in effects.pulses.items():
        if register == "irq_test":
            model.state["irq_pending", field] |= bits


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.3, 0.7])
async def any_access(dut, stall):
    master, model = await start(dut, 1, stall)
    for _ in range(COUNT):
        await random.choice([read, write])(master, model, any_address(model))


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.5])
async def reads_and_writes_at_once(dut, stall):
    """Many of each are in flight at the master; those of a direction are answered in order."""
    master, _ = await start(dut, 2, stall)
    timeout, identity = (MAP.by_name[name] for name in ("timeout", "id"))
    operations = []
    for number in range(50):
        operations.append(master.init_write(timeout.address, number.to_bytes(4, "little")))
        operations.append(master.init_read(identity.address, 4))
    for operation in operations:
        await with_timeout(operation.wait(), 100, "us")
    answers = [operation.data for operation in operations]
    assert all(answer.resp == AxiResp.OKAY for answer in answers)
    assert all(int.from_bytes(answer.data, "little") == identity.register.reset for answer in answers[1::2])
    last = await master.read(timeout.address, 4)
    assert int.from_bytes(last.data, "little") == 49


@cocotb.test()
async def reset_with_accesses_in_flight(dut):
    """Afterwards the registers are as after power-up, and no answer of before comes."""
    master, model = await start(dut, 3, 0.5)
    for delay in range(1, 12):
        for address in (MAP.by_name["timeout"].address, MAP.by_name["max_burst"].address):
            master.init_write(address, b"\1\1\1\1")
            master.init_read(address, 4)
        await ClockCycles(dut.clk, delay)
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        assert not dut.s_axil_bvalid.value and not dut.s_axil_rvalid.value
        dut.rst.value = 0
        await ClockCycles(dut.clk, 2)
        for name in ("timeout", "max_burst", "irq_pending"):
            await read(master, model, MAP.by_name[name].address)
