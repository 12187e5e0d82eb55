"""CommandCheck and PlanCheck: right commands pass, each fault has its code."""

import random

import pytest

from hdl.command.command_check import LATENCY, CommandCheck, PlanCheck
from hdl.spec.config import PRESETS
from hdl.spec.formats import Code, Opcode, layer_command
from hdl.spec.register_map import MAP
from sim.common.packing import unpack
from tests.bench.commands import FAULTS, WINDOW, fault, random_case
from tests.bench.harness import made, simulate

CONFIGS = [PRESETS["tiny"], PRESETS["paper"]]


def codes(config, cases, *, error=0, plan_error=0, more=1, follows=0):
    """(code of the command, code of the plan) of each (command, plan)."""
    found = []
    check, plan_check = made(CommandCheck), made(PlanCheck, config)

    async def commands(ctx):
        ctx.set(check.readable, WINDOW)
        for name, value in {"error": error, "more": more, "follows": follows}.items():
            ctx.set(getattr(check, name), value)
        for command, _ in cases:
            ctx.set(check.command, command)
            await ctx.tick().repeat(LATENCY)
            found.append(ctx.get(check.code))

    async def plans(ctx):
        ctx.set(plan_check.readable, WINDOW)
        ctx.set(plan_check.error, plan_error)
        for index, (command, plan) in enumerate(cases):
            ctx.set(plan_check.command, command)
            ctx.set(plan_check.plan, plan)
            await ctx.tick().repeat(LATENCY)
            found[index] = found[index], ctx.get(plan_check.code)

    simulate(check, commands, cycles=2000)
    simulate(plan_check, plans, cycles=2000)
    return found


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_right_commands(config):
    rng = random.Random(1)
    assert set(codes(config, [random_case(config, rng) for _ in range(200)])) == {(0, 0)}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_faults(config):
    cases = [fault(config, name, seed) for name in FAULTS for seed in range(3)]
    found = codes(config, [case[:2] for case in cases])
    got = {name: {first or second for first, second in found[3 * i : 3 * i + 3]} for i, name in enumerate(FAULTS)}
    assert got == {name: {code} for name, (_, code) in FAULTS.items()}


def test_what_could_not_be_read():
    config = CONFIGS[0]
    cases = [random_case(config, random.Random(2))]
    assert codes(config, cases, error=1)[0][0] == Code.READ_ERROR
    assert codes(config, cases, plan_error=1)[0][1] == Code.READ_ERROR


@pytest.mark.parametrize(("more", "follows", "code"), [(1, 0, 0), (0, 1, 0), (0, 0, Code.MALFORMED)])
def test_a_pair_is_announced_at_once(more, follows, code):
    cases = [random_case(CONFIGS[0], random.Random(3), Opcode.PAIR)]
    assert codes(CONFIGS[0], cases, more=more, follows=follows)[0][0] == code


@pytest.mark.parametrize("opcode", [Opcode.NOP, Opcode.FENCE])
def test_what_needs_no_plan_may_have_any(opcode):
    command = {"opcode": int(opcode), "plan": 5, "flags": {"reserved": 77}}
    assert codes(CONFIGS[0], [(command, {})])[0][0] == 0


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_of_an_append_only_what_all_commands_have(config):
    """Its own fields lie where others have flags, counts and tables; they are looked at elsewhere."""
    rng, cases = random.Random(4), []
    for _ in range(60):
        noise, plan = unpack(layer_command(), rng.getrandbits(512)), random_case(config, rng)[1]
        own = {"opcode": int(Opcode.APPEND), "reserved0": 0, "plan": 64 * rng.randint(0x100, 0x1FFE)}
        word = config.channel_width // 8
        cases.append((noise | own | {"query": word * rng.randrange(1 << config.address_width)}, plan))
    assert set(codes(config, cases)) == {(0, 0)}
    for fields, code in (
        ({"reserved0": 1}, Code.MALFORMED),
        ({"plan": 0x4020}, Code.MALFORMED),
        ({"plan": 0x8_0000}, Code.OUTSIDE),
    ):
        assert codes(config, [(cases[0][0] | fields, cases[0][1])])[0][0] == code
    for name in ("query", "key", "key_lsb", "value"):
        for kind in ("in between", "beyond"):
            command, plan = dict(cases[0][0]), dict(cases[0][1])
            change, code = FAULTS[f"{name} {kind}"]
            change(config, command, plan)
            assert codes(config, [(command, plan)]) == [(0, code)]


def test_codes_are_those_of_the_registers():
    """A command's code and the fault that the registers tell have one numbering."""
    choices = {choice.name: choice.value for choice in MAP.by_name["fault"].register.field("code").choices}
    mine = {
        Code.READ_ERROR: "bus_read",
        Code.WRITE_ERROR: "bus_write",
        Code.MALFORMED: "slot",
        Code.ABORTED: "aborted",
        Code.TIMEOUT: "timeout",
        Code.OUTSIDE: "window",
    }
    assert mine.keys() == set(Code) and all(choices[name] == code for code, name in mine.items())
