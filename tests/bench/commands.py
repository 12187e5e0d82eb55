"""Commands and plans in memory, right ones and what may be wrong with them."""

import random

from amaranth.lib import data

from hdl.spec import formats
from hdl.spec.formats import Code, Opcode
from sim.common.packing import pack

__all__ = ["FAULTS", "WINDOW", "command_word", "plan_word", "random_case"]

WINDOW = {"base": 0x4000, "limit": 0x8_0000}
"""Bytes that the queue of the tests may read."""


def _whole(shape, fields):
    """The value of a layout of which some fields are given; the others are 0."""
    if not isinstance(shape, data.StructLayout):
        return fields
    return {
        name: _whole(part, fields.get(name, {} if isinstance(part, data.StructLayout) else 0))
        for name, part in shape.members.items()
    }


def command_word(fields):
    """Bits of a command; fields that are not given are 0."""
    return pack(formats.layer_command(), _whole(formats.layer_command(), fields))


def plan_word(fields):
    """Bits of a plan, likewise."""
    return pack(formats.plan(), _whole(formats.plan(), fields))


def random_case(config, rng, opcode=None):
    """(command, plan) as dictionaries of fields, right ones."""
    opcode = rng.choice([Opcode.LAYER, Opcode.JOB, Opcode.SELECT]) if opcode is None else opcode
    word, near = config.channel_width // 8, 1 << config.address_width
    heads = 0 if opcode == Opcode.SELECT else rng.randint(1, config.max_heads)

    def place():
        return word * rng.randrange(near)

    flags = {name: rng.randint(0, 1) for name in ("causal", "generation", "accumulate")}
    select = rng.randint(0, 1) if opcode in (Opcode.LAYER, Opcode.SELECT) else 0
    state = select and rng.randint(0, 1)
    flags |= {"list": rng.randrange(3), "select": select, "write_state": state}
    flags["add_token"] = state and rng.randint(0, 1)
    command = {
        "opcode": int(opcode),
        "irq": rng.randint(0, 1),
        "tag": rng.randrange(1 << 16),
        "flags": flags,
        **{name: rng.randint(1, config.max_tokens) for name in ("num_keys", "num_queries", "num_rows", "value_keep")},
        "token_keep": rng.randint(1, config.max_tokens),
        "num_heads": heads,
        "head_keep": rng.randint(0, 3),
        "plan": 64 * rng.randint(0x100, 0x1FFE),
        "query": place(),
        "out": 32 * rng.getrandbits(27),
        "state": 64 * rng.randint(0x100, 0x1C00),
    }
    plan = {
        "dim": rng.choice(config.dims),
        "group": rng.randint(1, config.max_group),
        "num_kv_heads": rng.randint(1, config.max_heads),
        "query_bits": 8, "key_bits": 6, "key_lsb_bits": 4, "value_bits": 8,
        "skew": rng.randrange(config.num_channels),
        "decay": rng.randrange(32),
        "out_format": rng.randrange(3),
        "pin_first": rng.randrange(9), "pin_last": rng.randrange(9),
        "flat_limit": rng.getrandbits(min(32, config.sum_width)),
        **{name: place() for name in ("key", "key_lsb", "value")},
        **{f"{name}_stride": word * rng.randrange(1 << 12) for name in ("query", "key", "key_lsb", "value")},
        "heads": 64 * rng.randint(0x100, 0x1FF0 - 8 * config.max_heads // 32),
        **{f"out_{name}_stride": 32 * rng.getrandbits(20) for name in ("position", "head")},
    }  # fmt: skip
    return command, plan


def _command(**changes):
    return lambda config, command, plan: command.update(changes)


def _plan(**changes):
    return lambda config, command, plan: plan.update(changes)


def _flags(**changes):
    return lambda config, command, plan: command["flags"].update(changes)


def _probabilities(**changes):
    def change(config, command, plan):
        command["flags"]["probabilities"] = 1
        plan.update(changes)

    return change


def _beyond(name):
    """An offset beyond the core's address space."""
    return lambda config, command, plan: (command if name == "query" else plan).update(
        {name: config.channel_width // 8 << config.address_width}
    )


def _part(name):
    """An offset within a word."""
    return lambda config, command, plan: (command if name == "query" else plan).update({name: 4})


def _listed(**changes):
    def change(config, command, plan):
        command["flags"]["list"] = 1
        command.update(changes)

    return change


FAULTS = {
    "opcode": (_command(opcode=7), Code.MALFORMED),
    "opcode 255": (_command(opcode=255), Code.MALFORMED),
    "reserved bits of the head": (_command(reserved0=1), Code.MALFORMED),
    "reserved flags": (_flags(reserved=1 << 20), Code.MALFORMED),
    "list": (_flags(list=3), Code.MALFORMED),
    "bit plane": (_flags(bit_plane=1), Code.MALFORMED),
    "probabilities of a selection": (
        lambda config, command, plan: (
            command.update(opcode=int(Opcode.SELECT), num_heads=0),
            command["flags"].update(probabilities=1),
        ),
        Code.MALFORMED,
    ),
    "probabilities that begin in between": (_probabilities(probabilities=16), Code.MALFORMED),
    "probabilities whose queries lie in between": (_probabilities(probability_query_stride=48), Code.MALFORMED),
    "probabilities whose heads lie in between": (_probabilities(probability_head_stride=2), Code.MALFORMED),
    "zeros of a job": (
        lambda config, command, plan: (
            command.update(opcode=int(Opcode.JOB)),
            command["flags"].update(select=0, write_state=0, add_token=0, zero_pruned=1),
        ),
        Code.MALFORMED,
    ),
    "zeros of more heads than the core's": (
        lambda config, command, plan: (
            command["flags"].update(zero_pruned=1),
            plan.update(group=2, num_kv_heads=config.max_heads // 2 + 1),
        ),
        Code.MALFORMED,
    ),
    "state without a selection": (_flags(select=0, write_state=1, add_token=0), Code.MALFORMED),
    "token without a state": (_flags(write_state=0, add_token=1), Code.MALFORMED),
    "selection of a job": (
        lambda config, command, plan: (command.update(opcode=int(Opcode.JOB)), command["flags"].update(select=1)),
        Code.MALFORMED,
    ),
    "outputs that begin in between": (_command(out=0x4010), Code.MALFORMED),
    "outputs whose positions lie in between": (_plan(out_position_stride=16), Code.MALFORMED),
    "outputs whose heads lie in between": (_plan(out_head_stride=48), Code.MALFORMED),
    "plan that begins in between": (_command(plan=0x4020), Code.MALFORMED),
    "plan below the window": (_command(plan=0x3FC0), Code.OUTSIDE),
    "plan beyond the window": (_command(plan=0x8_0000), Code.OUTSIDE),
    "plan across the end of the window": (_command(plan=0x7_FFC0), Code.OUTSIDE),
    "plan at the end of all addresses": (_command(plan=(1 << 64) - 64), Code.OUTSIDE),
    "state that begins in between": (_listed(state=0x4010), Code.MALFORMED),
    "state below the window": (_listed(state=0x3FC0), Code.OUTSIDE),
    "state across the end of the window": (_listed(state=0x7_FFC0), Code.OUTSIDE),
    "list of no tokens": (_listed(num_keys=0), Code.MALFORMED),
    "list of endless length": (_listed(num_keys=(1 << 32) - 1), Code.OUTSIDE),
    "reserved bits of the plan": (_plan(reserved0=1 << 255), Code.MALFORMED),
    "format of outputs": (_plan(out_format=3), Code.MALFORMED),
    "decay": (_plan(decay=32), Code.MALFORMED),
    "more heads than there are": (
        lambda config, command, plan: command.update(num_heads=config.max_heads + 1),
        Code.MALFORMED,
    ),
    "endless heads": (_command(num_heads=(1 << 16) - 1), Code.MALFORMED),
    "heads that begin in between": (_plan(heads=0x4030), Code.MALFORMED),
    "heads below the window": (_plan(heads=0x3FC0), Code.OUTSIDE),
    "heads across the end of the window": (_plan(heads=0x8_0000), Code.OUTSIDE),
    **{f"{name} in between": (_part(name), Code.MALFORMED) for name in ("query", "key", "key_lsb", "value")},
    "stride in between": (_plan(value_stride=4), Code.MALFORMED),
    **{f"{name} beyond": (_beyond(name), Code.OUTSIDE) for name in ("query", "key", "key_lsb", "value")},
}
"""What is wrong -> (change of a right command and plan, its code)."""


def fault(config, name, seed=0):
    """(command, plan, code) of a LAYER with one fault."""
    command, plan = random_case(config, random.Random(seed), Opcode.LAYER)
    change, code = FAULTS[name]
    change(config, command, plan)
    return command, plan, code
