"""PushCommand: items put together from bytes, room and patience, refusals."""

import random

import pytest
from amaranth.hdl import Value

from fpga.link.push_command import PushCommand, item_layouts
from fpga.link.result_queue import byte_count
from fpga.spec.protocol import HOST_STREAM, MAX_PAYLOAD, Command, Error
from hdl.spec.config import PRESETS, Config
from tests.bench.command_bench import CommandBench, check_command_reset
from tests.bench.harness import made, monitor, simulate, take, wait

TINY = PRESETS["tiny"]


def size_of(name, config=TINY):
    return byte_count(item_layouts(config)[name])


def push_payload(name, items, config=TINY):
    content = b"".join(item.to_bytes(size_of(name, config), "little") for item in items)
    return bytes((HOST_STREAM[name],)) + content


def random_items(rng, name, count, config=TINY):
    """Items with rubbish in the bits above the layout."""
    return [rng.getrandbits(8 * size_of(name, config)) for _ in range(count)]


def plain(name, items, config=TINY):
    return [item & ((1 << item_layouts(config)[name].as_shape().width) - 1) for item in items]


def taken(count):
    """The answer."""
    return 0, count.to_bytes(2, "little")


def monitors(dut):
    return [monitor(getattr(dut, name), name) for name in HOST_STREAM]


def core(port, received, rng, pauses=(1, 3, 40)):
    """A process that takes items when it likes to."""

    async def run(ctx):
        while True:
            await wait(ctx, rng.choice(pauses))
            received.append(await take(ctx, port))

    return run


def count_pulses(signal, pulses):
    async def run(ctx):
        while True:
            _, _, pulse = await ctx.tick().sample(signal)
            pulses.extend([1] if pulse else [])

    return run


@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize("name", HOST_STREAM)
def test_push(name, stall):
    """Into its stream and no other; ``opened`` pulses for each job and layer."""
    dut, rng = made(PushCommand, TINY), random.Random(1)
    bench = CommandBench(dut, stall=stall)
    port = getattr(dut, name)
    received, opened = [], []

    async def others(ctx):
        valids = [getattr(dut, other).valid for other in HOST_STREAM if other != name]
        while True:
            _, _, *valid = await ctx.tick().sample(*valids)
            assert not any(valid)

    async def run(ctx):
        expected = []
        for count in (1, 3, (MAX_PAYLOAD - 1) // size_of(name)):
            items = random_items(rng, name, count)
            assert await bench.execute(ctx, Command.PUSH, push_payload(name, items)) == taken(count)
            assert bench.taken == 1 + count * size_of(name)
            expected += plain(name, items)
        await wait(ctx, 200)
        assert received == expected
        assert len(opened) == (len(expected) if name in ("job", "layer") else 0)

    background = [core(port, received, rng), others, count_pulses(dut.opened, opened), *monitors(dut)]
    simulate(dut, run, *background, cycles=40_000)


def test_push_of_all_streams():
    """In any order, of another configuration; each stream keeps the order of its items."""
    config = PRESETS["ulx3s"]
    dut, rng = made(PushCommand, config), random.Random(7)
    bench = CommandBench(dut)
    received, expected = {name: [] for name in HOST_STREAM}, {name: [] for name in HOST_STREAM}

    async def run(ctx):
        for _ in range(12):
            name, count = rng.choice(list(HOST_STREAM)), rng.randint(1, 3)
            items = random_items(rng, name, count, config)
            assert await bench.execute(ctx, Command.PUSH, push_payload(name, items, config)) == taken(count)
            expected[name] += plain(name, items, config)
        await wait(ctx, 200)
        assert received == expected and all(expected.values())

    takers = [core(getattr(dut, name), received[name], rng) for name in HOST_STREAM]
    simulate(dut, run, *takers, *monitors(dut), cycles=40_000)


def test_gives_up_when_there_is_no_room():
    """The queue takes two, and the third after PATIENCE cycles is left; those that were taken stay in their order."""
    dut, rng = made(PushCommand, TINY), random.Random(2)
    bench = CommandBench(dut, stall=0)
    items = random_items(rng, "ids", 4)

    async def run(ctx):
        assert await bench.execute(ctx, Command.PUSH, push_payload("ids", items)) == taken(2)
        assert await bench.execute(ctx, Command.PUSH, push_payload("ids", items[2:])) == taken(0)
        # Another stream is not held up.
        job = random_items(rng, "job", 1)
        assert await bench.execute(ctx, Command.PUSH, push_payload("job", job)) == taken(1)
        assert [await take(ctx, dut.ids) for _ in range(2)] == plain("ids", items[:2])
        assert await bench.execute(ctx, Command.PUSH, push_payload("ids", items[2:])) == taken(2)
        assert [await take(ctx, dut.ids) for _ in range(2)] == plain("ids", items[2:])
        assert await take(ctx, dut.job) == plain("job", job)[0]

    simulate(dut, run, *monitors(dut), cycles=10_000)


def test_patience():
    """A push that finds no room takes PATIENCE cycles longer than one that does, but for those that move an item."""
    dut, rng = made(PushCommand, TINY), random.Random(4)
    bench = CommandBench(dut, stall=0)
    payload = push_payload("heads", random_items(rng, "heads", 1))
    moving = 3

    async def run(ctx):
        for _ in range(2):
            assert await bench.execute(ctx, Command.PUSH, payload) == taken(1)
            await wait(ctx, 3)
        moved = bench.cycles
        assert await bench.execute(ctx, Command.PUSH, payload) == taken(0)
        assert bench.cycles == moved + PushCommand.PATIENCE - moving

    simulate(dut, run, *monitors(dut), cycles=3000)


def test_waits_for_room():
    """An item whose place comes free within PATIENCE cycles is taken."""
    dut, rng = made(PushCommand, TINY), random.Random(3)
    bench = CommandBench(dut, stall=0)
    items = random_items(rng, "heads", 3)
    received = []

    async def late(ctx):
        await wait(ctx, PushCommand.PATIENCE - 24)
        received.append(await take(ctx, dut.heads))

    async def run(ctx):
        assert await bench.execute(ctx, Command.PUSH, push_payload("heads", items)) == taken(3)
        assert received == plain("heads", items[:1])

    simulate(dut, run, late, *monitors(dut), cycles=3000)


def bad_pushes():
    for name, number in HOST_STREAM.items():
        stream, size = bytes((number,)), size_of(name)
        for length in (0, size - 1, size + 1, 3 * size - 1, 3 * size + 1):
            if length % size or length == 0:  # all are whole numbers of an item of one byte
                yield stream + bytes(length), Error.BAD_LENGTH
    yield b"", Error.BAD_LENGTH
    for stream in (4, 5, 0x80, 0xFF):
        yield bytes((stream,)) + bytes(size_of("job")), Error.BAD_STREAM
        yield bytes((stream,)), Error.BAD_STREAM


def test_refused_pushes_move_nothing():
    dut, rng = made(PushCommand, TINY), random.Random(5)
    bench = CommandBench(dut)
    opened = []
    job = random_items(rng, "job", 1)

    async def run(ctx):
        for payload, error in bad_pushes():
            assert await bench.execute(ctx, Command.PUSH, payload) == (error, b""), payload
            assert not any(ctx.get(getattr(dut, name).valid) for name in HOST_STREAM)
        assert opened == []
        assert await bench.execute(ctx, Command.PUSH, push_payload("job", job)) == taken(1)
        assert await take(ctx, dut.job) == plain("job", job)[0]

    simulate(dut, run, count_pulses(dut.opened, opened), cycles=10_000)


def test_streams_by_their_numbers():
    assert list(item_layouts(TINY)) == sorted(HOST_STREAM, key=lambda name: HOST_STREAM[name])
    dut = made(PushCommand, TINY)
    for name, layout in item_layouts(TINY).items():
        assert len(Value.cast(getattr(dut, name).payload)) == layout.as_shape().width


def test_item_too_wide():
    config = Config(num_multipliers=512, lanes=256, topk_parallelism=256, line_queue=1025)
    with pytest.raises(ValueError, match=r"an item of ids must be at most 1023 bytes for the link, not \d+"):
        PushCommand(config)


def test_reset():
    rng = random.Random(8)
    commands = [(Command.PUSH, push_payload(name, random_items(rng, name, 2))) for name in ("job", "heads", "ids")]

    def background(dut, results):
        rng = random.Random(9)
        takers = [core(getattr(dut, name), results, rng, pauses=(1, 3, 12)) for name in HOST_STREAM]
        return [*takers, *monitors(dut)]

    check_command_reset(lambda: PushCommand(TINY), commands, background=background)
