"""Runs in the simulator: faults of the bus, of commands and of software at spatten_axi, thousands of them."""

from __future__ import annotations

import collections
import json
import os
import random
import re
import traceback
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import SimTimeoutError

from hdl.spec.formats import COMMAND_BYTES, PLAN_BYTES, Code, Opcode, layer_command, plan
from sim.common.packing import pack, unpack
from tests.bench.append_commands import REFUSED, changed
from tests.bench.axi_layers import Placed, patched
from tests.bench.commands import FAULTS
from tests.cocotb.axi_host import PATIENCE, PERIOD, TINY, Hang, Host, Queue
from tests.cocotb.axi_memory import READ_FAULTS, WRITE_FAULTS

SEED = int(os.environ.get("SEED", "1"))
SHARE = float(os.environ.get("SHARE", "0.1"))
"""Of the rounds of a whole campaign."""
REPORT = os.environ.get("REPORT")
KINDS = os.environ.get("KINDS", "")
"""A regular expression: of rounds that are done."""
LAYERS = 8
"""Of each queue; beside them it has half as many APPEND commands."""
SOURCES = 2
"""Of them, of which malformed commands are made."""
PORTS = (0, 1, "ctl", "writes")
ROUNDS = {
    "malformed": 170,
    "mutated": 60,
    "foreign": 40,
    "abort": 150,
    "disable": 50,
    "soft reset": 100,
    "reset": 60,
    **{f"read {fault}": 75 for fault in READ_FAULTS},
    **{f"write {fault}": 50 for fault in WRITE_FAULTS},
}
"""Kind -> rounds of a whole campaign; those of commands are of several."""


class Campaign:
    """Rounds of faults; each ends with queues that do a right command."""

    def __init__(self, host: Host):
        self.host, self.rng = host, host.rng
        self.faults: collections.Counter[str] = collections.Counter()
        self.problems: list[str] = []
        self.hangs = self.right = self.rounds = 0
        self.broken = [
            [
                (self._broken(queue, layer, name), int(FAULTS[name][1]))
                for layer in queue.layers[:SOURCES]
                for name in sorted(FAULTS)
            ]
            + [
                (changed(queue.layers[-1].appended, queue.tables, **changes), int(code))
                for changes, code in REFUSED.values()
            ]
            for queue in host.queues
        ]
        host.remember()

    def _broken(self, queue: Queue, layer: Placed, name: str) -> bytes:
        """A layer's command with a fault of tests/bench/commands.py."""
        command = unpack(layer_command(), int.from_bytes(layer.command, "little"))
        table = unpack(plan(), int.from_bytes(queue.tables.read(layer.placed.plan, PLAN_BYTES).tobytes(), "little"))
        before = command["plan"]
        FAULTS[name][0](TINY, command, table)
        if command["plan"] == before:
            command["plan"] = queue.tables.store(pack(plan(), table).to_bytes(PLAN_BYTES, "little"))
        return pack(layer_command(), command).to_bytes(COMMAND_BYTES, "little")

    def _noise(self) -> tuple[bytes, int]:
        """A slot of chance, and its code."""
        while True:
            slot = self.rng.randbytes(COMMAND_BYTES)
            command = unpack(layer_command(), int.from_bytes(slot, "little"))
            if command["opcode"] not in (Opcode.NOP, Opcode.FENCE) and command["flags"]["reserved"]:
                return slot, int(Code.MALFORMED)

    # Rounds ------------------------------------------------------------------------------------------------------

    async def run(self, kind: str) -> None:
        """A round; what does not hold is noted, and all is reset."""
        host, rng = self.host, self.rng
        self.rounds += 1
        host.stall = rng.choice((0.0, 0.0, 0.1, 0.3, 0.6))
        for port in host.ports:
            port.stall, port.lag = rng.choice((0.0, 0.1, 0.3, 0.6)), rng.choice((0, 0, 3, 20))
        for queue in host.queues:
            queue.clear()
        try:
            name, _, fault = kind.partition(" ")
            if name in ("read", "write"):
                await self._bus(kind, "writes" if name == "write" else rng.choice(PORTS[:3]), fault)
            else:
                await getattr(self, f"_{kind.replace(' ', '_')}")()
            host.watch()
        except Exception as error:
            self.hangs += isinstance(error, Hang | SimTimeoutError)
            self.problems.append(f"round {self.rounds} ({kind}): {traceback.format_exc(limit=-4)}{await self._state()}")
            print(self.problems[-1], flush=True)
            for port in host.ports:
                port.outside.clear()
            await host.start()

    async def _state(self) -> str:
        """What the registers tell now."""
        names = ["status", "fault", *(f"doorbell[{index}].{name}" for index in range(2) for name in ("status", "head"))]
        told = {name: await self.host.fields(name) for name in names}
        ports = [(name, port.armed, port.fired) for name, port in zip(PORTS, self.host.ports, strict=True)]
        return f"{told}\n{ports}"

    def _choose(self) -> list[Queue]:
        """The queues at work, one or both."""
        self.host.active = self.rng.choice(((0,), (1,), (0, 1)))
        return [self.host.queues[index] for index in self.host.active]

    async def _submit(self, queues: list[Queue], most: int) -> None:
        for queue in queues:
            await queue.submit_layers(*self.rng.sample(queue.layers, self.rng.randint(1, most)))

    async def _finish(self, queues: list[Queue], *codes: int) -> None:
        """All that was submitted is answered, and right, or has one of the codes; then comes a right command."""
        for queue in queues:
            if not any(layer is not None and not found["code"] for layer, found in queue.by_number()[-1:]):
                left = [layer for layer in queue.layers if not any(layer is other for other in queue.sent)]
                await queue.submit_layers(self.rng.choice(left))
            await queue.settle()
            assert queue.read == queue.tail
            self.right += queue.check(*codes)
            last = queue.by_number()
            assert any(layer is not None and found["code"] == 0 for layer, found in last), last
        layers = [layer for queue in queues for layer in queue.sent if layer is not None]
        self.host.unchanged(*layers)
        self.host.restore()

    async def _resume(self, queues: list[Queue], *, clear: bool = True) -> None:
        host = self.host
        if clear:
            await host.write("fault", valid=1)
            await host.write("irq_pending", fault=1)
        for queue in queues:
            await host.write(f"queue[{queue.index}].ctrl", enable=1, resume=1)
        for queue in queues:
            await host.until(f"doorbell[{queue.index}].status", "halted", 0)
        for queue in queues:
            await queue.settle()

    async def _malformed(self) -> None:
        """A ring full of slots that are wrong, and one that is right."""
        rng, queue = self.rng, self.host.queues[self.rng.randrange(2)]
        self.host.active = (queue.index,)
        wrong = [self._noise() if rng.random() < 0.2 else rng.choice(self.broken[queue.index]) for _ in range(7)]
        place, layer = rng.randrange(8), rng.choice(queue.layers[SOURCES:])
        self.host.restore(layer)
        slots = [(command, None) for command, _ in wrong]
        slots.insert(place, (layer.command, layer))
        await queue.submit(*slots)
        await queue.settle()
        codes = {number: found["code"] for number, (_, found) in self._numbered(queue).items()}
        wanted = dict(enumerate([code for _, code in wrong[:place]] + [0] + [code for _, code in wrong[place:]]))
        assert codes == wanted, (codes, wanted)
        assert queue.check() == 1
        self.right += 1
        self.host.unchanged(layer)
        self.host.restore()
        self.faults["malformed"] += len(wrong)

    def _numbered(self, queue: Queue) -> dict:
        return {(found["number"] - queue.first) % 2**16: (None, found) for found in queue.found}

    async def _mutated(self) -> None:
        """Commands, plans and tables with bits that are flipped: whatever they mean now, they are answered."""
        rng, host = self.rng, self.host
        queue = host.queues[rng.randrange(2)]
        host.active = (queue.index,)
        for layer in rng.sample(queue.layers, 3):
            command, placed = bytearray(layer.command), layer.placed
            where = rng.choice(("command", "plan", "heads", "state"))
            for _ in range(rng.choice((1, 1, 2, 4))):
                if where == "command":
                    bit = rng.randrange(8 * COMMAND_BYTES)
                    command[bit // 8] ^= 1 << bit % 8
                else:
                    address = getattr(placed, where) + rng.randrange(96)
                    host.memory.write(address, bytes([int(host.memory.read(address, 1)[0]) ^ 1 << rng.randrange(8)]))
            await queue.submit((bytes(command), None))
        await queue.settle()
        if queue.read != queue.tail:
            await self._resume(host.queues)
        host.restore()
        host.watch()
        queue.clear()
        await self._finish([queue])
        self.faults["mutated"] += 3

    async def _foreign(self) -> None:
        """A queue's commands name what belongs to the other one."""
        host, rng = self.host, self.rng
        queue, other = rng.sample(host.queues, 2)
        host.active = (queue.index,)
        mine, theirs = rng.choice(queue.layers), rng.choice(other.layers)
        for field, value in {"plan": theirs.placed.plan, "state": theirs.placed.state, "out": other.window[0]}.items():
            host.restore(mine)
            await queue.submit((patched(mine.command, **{field: value}), None))
            await queue.settle()
            assert queue.found[-1]["code"] == Code.OUTSIDE, (field, queue.found[-1])
        address = mine.placed.plan
        table = unpack(plan(), int.from_bytes(host.memory.read(address, PLAN_BYTES).tobytes(), "little"))
        for name in ("key", "value"):
            shift = other.window[0] - queue.window[0]
            if table[name] + shift < 0:
                continue
            moved = pack(plan(), table | {name: table[name] + shift}).to_bytes(PLAN_BYTES, "little")
            host.memory.write(address, moved)
            await queue.submit((mine.command, None))
            await queue.settle()
            assert queue.found[-1]["code"] != 0, (name, queue.found[-1])
        host.restore()
        self.faults["foreign"] += len(queue.found)
        queue.clear()
        await self._finish([queue])

    async def _bus(self, kind: str, name: int | str, fault: str) -> None:
        host, rng = self.host, self.rng
        port = host.writes if name == "writes" else host.reads[name]
        queues = self._choose()
        port.arm(fault, rng.randrange(4 if name in (0, 1) else 16))
        await self._submit(queues, 3)
        code = int(
            Code.TIMEOUT if fault in ("silent", "deaf") else Code.WRITE_ERROR if name == "writes" else Code.READ_ERROR
        )
        if code == Code.TIMEOUT and not await self._silence(port, queues, name):
            return
        for queue in queues:
            await queue.settle()
        if not port.fired:
            port.forget()
            await self._finish(queues)
            return
        told = await host.until("fault", "valid", 1)
        channel = {"ctl": 2, "writes": 3}.get(str(name), name)
        assert (told["code"], told["channel"], told["write"]) == (code, channel, name == "writes"), told
        assert (await host.fields("irq_pending"))["fault"]
        await self._resume(host.queues)
        await self._finish(queues, code)
        assert not (await host.fields("fault"))["valid"]
        self.faults[f"{kind} at {name}"] += 1

    async def _silence(self, port, queues: list[Queue], name: int | str) -> bool:
        """A channel gives nothing until it does, or until reset; whether the round goes on."""
        host, rng = self.host, self.rng
        idle = spent = 0
        while idle < 3 * host.TIMEOUT:
            spent += 30
            if spent > PATIENCE:
                raise Hang(f"{name}: {[(queue.index, queue.read, queue.tail) for queue in queues]} are answered")
            await host.cycles(30)
            valid = (await host.fields("fault"))["valid"]
            if valid:
                break
            for queue in queues:
                await self._glance(queue)
            idle = idle + 30 if port.fired or all(queue.read == queue.tail for queue in queues) else 0
        if not valid:  # nothing was asked of the channel any more
            port.release()
            port.forget()
            for queue in queues:
                await queue.settle()
            if (await host.fields("fault"))["valid"]:
                await self._resume(host.queues)
            await self._finish(queues, Code.TIMEOUT)
            return False
        how = rng.choice(("soon", "late", "never"))
        if how != "soon":
            status = await host.until("status", "drain_failed", 1)
            assert status["draining"] and (await host.fields("irq_pending"))["drained"]
            await host.write("irq_pending", drained=1)
        if how == "never":
            self.faults[f"{'write' if name == 'writes' else 'read'} {port.fired} at {name}, until reset"] += 1
            await self._reset_now(queues, Code.TIMEOUT)
            return False
        port.release()
        return True

    async def _glance(self, queue: Queue) -> None:
        """Takes the completions that are there."""
        while queue.next_completion():
            await self.host.write(f"doorbell[{queue.index}].completion_head", count=queue.read)

    async def _abort(self) -> None:
        queues, rng = self._choose(), self.rng
        await self._submit(queues, 4)
        await self.host.cycles(rng.randrange(400))
        target = rng.choice(queues)
        await self.host.write(f"queue[{target.index}].ctrl", enable=1, abort=1)
        for queue in queues:
            await queue.settle()
            queue.check(*([Code.ABORTED] if queue is target else []))
        page = await self.host.until(f"doorbell[{target.index}].status", "busy", 0)
        assert page["halted"] and page["code"] == Code.ABORTED, page
        await self._resume([target], clear=False)
        await self._finish(queues, Code.ABORTED)
        assert not (await self.host.fields("fault"))["valid"]
        self.faults["abort"] += 1

    async def _disable(self) -> None:
        queues, rng = self._choose(), self.rng
        await self._submit(queues, 3)
        await self.host.cycles(rng.randrange(400))
        target = rng.choice(queues)
        begun = list(target.sent)
        while target.next_completion():
            pass
        target.check()
        await target.restart()
        self.host.unchanged(*begun, *(layer for queue in queues for layer in queue.sent))
        self.host.restore(*begun)
        await self._finish(queues)
        self.faults["disable"] += 1

    async def _soft_reset(self) -> None:
        """With beats in flight; perhaps some come late."""
        host, rng = self.host, self.rng
        queues = self._choose()
        port = rng.choice(host.ports) if rng.random() < 0.3 else None
        if port:
            port.arm("silent", rng.randrange(4))
        await self._submit(queues, 3)
        await host.cycles(rng.randrange(400))
        await host.write("ctrl", enable=1, soft_reset=1)
        if port:
            await host.cycles(rng.randrange(3 * host.TIMEOUT))
            port.release()
            port.forget()
        await host.until("irq_pending", "drained", 1)
        status = await host.until("status", "draining", 0)
        assert not status["busy"] and not status["drain_failed"], status
        begun = [layer for queue in queues for layer in queue.sent]
        for queue in queues:
            while queue.next_completion():
                pass
            queue.check(*([Code.TIMEOUT] if port else []))
        host.unchanged(*begun)
        host.restore()
        await host.write("irq_pending", drained=1, fault=1)
        await host.write("fault", valid=1)
        for queue in host.queues:
            await queue.restart()
        await self._finish(queues)
        self.faults["soft reset"] += 1

    async def _reset(self) -> None:
        """aresetn, with beats in flight."""
        queues = self._choose()
        await self._submit(queues, 3)
        await self.host.cycles(self.rng.randrange(400))
        await self._reset_now(queues)
        self.faults["reset"] += 1

    async def _reset_now(self, queues: list[Queue], *codes: int) -> None:
        for queue in queues:
            while queue.next_completion():
                pass
            queue.check(*codes)
        await self.host.start()
        await self._finish(queues)

    def report(self) -> dict:
        return {
            "faults": sum(self.faults.values()),
            "hangs": self.hangs,
            "wrong": len(self.problems) - self.hangs,
            "right_commands": self.right,
            "rounds": self.rounds,
            "cycles": int(cocotb.utils.get_sim_time("ns")) // PERIOD,
            "bursts": {name: port.bursts for name, port in zip(PORTS, self.host.ports, strict=True)},
            "faults_by_kind": dict(sorted(self.faults.items())),
            "problems": self.problems,
        }


@cocotb.test()
async def campaign(dut):
    cocotb.start_soon(Clock(dut.aclk, PERIOD, "ns").start())
    host = Host(dut, SEED, LAYERS)
    run = Campaign(host)
    await host.start()
    kinds = [
        kind for kind, rounds in ROUNDS.items() for _ in range(max(1, round(SHARE * rounds))) if re.search(KINDS, kind)
    ]
    random.Random(SEED).shuffle(kinds)
    for kind in kinds:
        await run.run(kind)
    report = run.report()
    if REPORT:
        Path(REPORT).write_text(json.dumps(report, indent=1) + "\n")
    assert not run.problems, f"{len(run.problems)} rounds, {run.hangs} hangs: {run.problems[0]}"
