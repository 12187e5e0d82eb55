"""The blocks that execute commands, each alone."""

import random
import struct

import pytest
from amaranth.hdl import Value

from fpga.link.counters_command import CountersCommand
from fpga.link.identity_command import IdentityCommand, identity_bytes
from fpga.link.item_queue import ItemQueue
from fpga.link.memory_command import MemoryCommand
from fpga.link.pull_command import PullCommand
from fpga.link.push_command import PushCommand, item_layouts
from fpga.link.reset_command import ResetCommand
from fpga.link.result_queue import byte_count, record_sizes
from fpga.link.results_command import ResultsCommand
from fpga.spec.protocol import HOST_STREAM, MAX_PAYLOAD, VERSION, Command, Error, Identity
from fpga.spec.settings import SystemSettings, config_digest
from hdl.control.counters import counters_layout
from hdl.spec.config import PRESETS, Config
from tests.bench.command_bench import CommandBench
from tests.bench.harness import give, made, run_streams, simulate, take, wait

TINY = PRESETS["tiny"]
SETTINGS = SystemSettings(
    core=TINY, clock_hz=1_000_000, baud=250_000, memory_words=256, window_base=16, window_words=200
)
OK = 0


@pytest.mark.parametrize("stall", [0, 0.4])
def test_item_queue(stall):
    items = list(range(100, 140))
    results, cycle = run_streams(made(ItemQueue, 12), {"i": items}, {"o": len(items)}, stall=stall)
    assert results["o"] == items
    if stall == 0:
        assert cycle <= 2 * len(items) + ItemQueue.LATENCY + 2


def test_item_queue_holds_two():
    dut = made(ItemQueue, 8)

    async def bench(ctx):
        await give(ctx, dut.i, 1)
        await give(ctx, dut.i, 2)
        await wait(ctx, 3)
        assert not ctx.get(dut.i.ready)
        assert [await take(ctx, dut.o), await take(ctx, dut.o)] == [1, 2]

    simulate(dut, bench, cycles=50)


# VERSION, RESET, RESULTS ---------------------------------------------------------------------------------------------


def test_version():
    dut = made(IdentityCommand, SETTINGS)
    bench = CommandBench(dut)

    async def run(ctx):
        for _ in range(2):
            error, answer = await bench.execute(ctx, Command.VERSION)
            assert (error, answer) == (OK, identity_bytes(SETTINGS))
            assert await bench.execute(ctx, Command.VERSION, b"x") == (Error.BAD_LENGTH, b"")
        identity = Identity(
            **dict(zip(Identity.__dataclass_fields__, struct.unpack(Identity.FORMAT, answer), strict=True))
        )
        assert identity == Identity(
            protocol=VERSION,
            channels=2,
            word_bytes=8,
            max_payload=MAX_PAYLOAD,
            window_base=16,
            window_words=200,
            clock_hz=1_000_000,
            digest=config_digest(TINY),
        )

    simulate(dut, run, cycles=1000)


def test_reset_waits_for_the_memory():
    dut = made(ResetCommand)
    bench = CommandBench(dut)
    lengths = []

    async def watch(ctx):
        length = 0
        while True:
            _, _, reset = await ctx.tick().sample(dut.core_reset)
            if length and not reset:
                lengths.append(length)
            length = length + 1 if reset else 0

    async def memory(ctx):
        """Idle at once, then only after 50 cycles of the second reset."""
        ctx.set(dut.memory_idle, 1)
        while not lengths:
            await ctx.tick()
        ctx.set(dut.memory_idle, 0)
        while not ctx.get(dut.core_reset):
            await ctx.tick()
        await wait(ctx, 50)
        ctx.set(dut.memory_idle, 1)

    async def run(ctx):
        assert await bench.execute(ctx, Command.RESET, b"nonce\x7e") == (OK, b"nonce\x7e")
        assert not ctx.get(dut.core_reset)
        assert await bench.execute(ctx, Command.RESET) == (OK, b"")
        await wait(ctx, 2)

    simulate(dut, run, watch, memory, cycles=1000)
    assert lengths[0] == ResetCommand.CYCLES
    assert 50 <= lengths[1] <= 53


def test_results_mask():
    dut = made(ResultsCommand)
    bench = CommandBench(dut)

    async def run(ctx):
        assert ctx.get(dut.keep) == 0b1111
        for mask in (0, 0b1010, 0xF5):
            assert await bench.execute(ctx, Command.RESULTS, bytes((mask,))) == (OK, b"")
            assert ctx.get(dut.keep) == mask & 0xF
        for payload in (b"", b"\0\0"):
            assert await bench.execute(ctx, Command.RESULTS, payload) == (Error.BAD_LENGTH, b"")
            assert ctx.get(dut.keep) == 5

    simulate(dut, run, cycles=1000)


# WRITE, READ ---------------------------------------------------------------------------------------------------------


class Memory:
    """The other side of HostMemory, with random stalls; counts requests."""

    def __init__(self, port, seed=0, stall=0.3):
        self.port, self.rng, self.stall = port, random.Random(seed), stall
        self.words = {}
        self.requests = 0

    async def run(self, ctx):
        port = self.port
        while True:
            ctx.set(port.request.ready, self.rng.random() >= self.stall)
            signals = (port.request.valid, port.request.ready, port.request.payload)
            _, _, valid, ready, request = await ctx.tick().sample(*signals)
            if not (valid and ready):
                continue
            ctx.set(port.request.ready, 0)
            self.requests += 1
            place = request.channel, request.address
            if request.write:
                self.words[place] = request.data
            else:
                await wait(ctx, self.rng.randint(0, 9))
                await give(ctx, port.response, self.words.get(place, 0))


def write_payload(channel, first, content):
    return struct.pack("<HI", channel, first) + content


def read_payload(channel, first, count):
    return struct.pack("<HIH", channel, first, count)


@pytest.mark.parametrize("preset", ["tiny", "ulx3s"])
def test_write_then_read(preset):
    settings = SystemSettings(
        core=PRESETS[preset], clock_hz=1_000_000, baud=250_000, memory_words=256, window_base=16, window_words=200
    )
    dut = made(MemoryCommand, settings)
    bench, memory, rng = CommandBench(dut, seed=3), Memory(dut.memory), random.Random(4)
    size, channels = settings.core.channel_width // 8, settings.core.num_channels
    most = MAX_PAYLOAD // size

    async def run(ctx):
        model = {}
        for first, count in ((16, 1), (215, 1), (216 - most, most - 1), (50, 7)):
            channel = rng.randrange(channels)
            content = rng.randbytes(count * size)
            assert await bench.execute(ctx, Command.WRITE, write_payload(channel, first, content)) == (OK, b"")
            for index in range(count):
                model[channel, first + index] = int.from_bytes(content[index * size : (index + 1) * size], "little")
            assert memory.words == model
        for channel in range(channels):
            for first, count in ((16, 1), (215, 1), (216 - most, most), (45, 12)):
                expected = b"".join(model.get((channel, first + k), 0).to_bytes(size, "little") for k in range(count))
                assert await bench.execute(ctx, Command.READ, read_payload(channel, first, count)) == (OK, expected)

    simulate(dut, run, memory.run, cycles=60_000)


def bad_accesses():
    word = bytes(8)
    for channel, first, count in ((2, 20, 1), (0xFFFF, 20, 1), (0, 15, 1), (0, 15, 2), (1, 215, 2), (1, 216, 1)):
        yield Command.WRITE, write_payload(channel, first, word * count), Error.OUTSIDE_WINDOW
        yield Command.READ, read_payload(channel, first, count), Error.OUTSIDE_WINDOW
    # A number of 32 bits must not wrap into the window, nor its upper bits be lost.
    for first in (0xFFFFFFFF, 0xFFFFFFEF, 0x10000 + 20, 0x80000010):
        yield Command.WRITE, write_payload(0, first, word * 40), Error.OUTSIDE_WINDOW
        yield Command.READ, read_payload(0, first, 40), Error.OUTSIDE_WINDOW
    for payload in (b"", write_payload(0, 20, b""), write_payload(0, 20, word[:-1]), write_payload(0, 20, word + b"x")):
        yield Command.WRITE, payload, Error.BAD_LENGTH
    for payload in (b"", read_payload(0, 20, 1)[:-1], read_payload(0, 20, 1) + b"x"):
        yield Command.READ, payload, Error.BAD_LENGTH
    for count in (0, 129, 0xFFFF):
        yield Command.READ, read_payload(0, 20, count), Error.BAD_LENGTH


def test_refused_accesses_touch_nothing():
    dut = made(MemoryCommand, SETTINGS)
    bench, memory = CommandBench(dut), Memory(dut.memory)

    async def run(ctx):
        for type, payload, error in bad_accesses():
            assert await bench.execute(ctx, type, payload) == (error, b""), (type, payload)
        assert memory.requests == 0
        assert await bench.execute(ctx, Command.WRITE, write_payload(0, 16, b"12345678")) == (OK, b"")
        assert memory.words == {(0, 16): int.from_bytes(b"12345678", "little")}

    simulate(dut, run, memory.run, cycles=30_000)


def test_widest_word():
    MemoryCommand(SystemSettings(core=Config(channel_width=4096), clock_hz=10**7, memory_words=16))
    with pytest.raises(ValueError, match="channel_width must be at most 4096 for the link, not 8192"):
        MemoryCommand(SystemSettings(core=Config(channel_width=8192), clock_hz=10**7, memory_words=16))


# PUSH ----------------------------------------------------------------------------------------------------------------


def push_payload(name, items):
    size = byte_count(item_layouts(TINY)[name])
    return bytes((HOST_STREAM[name],)) + b"".join(item.to_bytes(size, "little") for item in items)


def random_items(rng, name, count):
    """Items with rubbish in the bits above the layout."""
    return [rng.getrandbits(8 * byte_count(item_layouts(TINY)[name])) for _ in range(count)]


def plain(name, items):
    return [item & ((1 << item_layouts(TINY)[name].as_shape().width) - 1) for item in items]


async def take_item(ctx, port):
    ctx.set(port.ready, 1)
    valid = 0
    while not valid:
        _, _, valid, bits = await ctx.tick().sample(port.valid, Value.cast(port.payload))
    ctx.set(port.ready, 0)
    return bits


@pytest.mark.parametrize("name", HOST_STREAM)
def test_push(name):
    dut, rng = PushCommand(TINY), random.Random(1)
    bench = CommandBench(dut)
    port = getattr(dut, name)
    received, opened = [], []

    async def core(ctx):
        while True:
            await wait(ctx, rng.choice((1, 3, 40)))
            received.append(await take_item(ctx, port))

    async def others(ctx):
        while True:
            names = [other for other in HOST_STREAM if other != name]
            _, _, pulse, *valid = await ctx.tick().sample(dut.opened, *(getattr(dut, other).valid for other in names))
            assert not any(valid)
            opened.append(pulse)

    async def run(ctx):
        expected = []
        size = byte_count(item_layouts(TINY)[name])
        for count in (1, 3, (MAX_PAYLOAD - 1) // size):
            items = random_items(rng, name, count)
            answer = count.to_bytes(2, "little")
            assert await bench.execute(ctx, Command.PUSH, push_payload(name, items)) == (OK, answer)
            expected += plain(name, items)
        await wait(ctx, 200)
        assert received == expected
        assert sum(opened) == (len(expected) if name in ("job", "layer") else 0)

    simulate(dut, run, core, others, cycles=40_000)


def test_push_gives_up_when_there_is_no_room():
    """The queue takes two, and the third after 1,024 cycles is left; those that were taken stay in their order."""
    dut, rng = PushCommand(TINY), random.Random(2)
    bench = CommandBench(dut, stall=0)
    items = random_items(rng, "ids", 4)

    async def run(ctx):
        assert await bench.execute(ctx, Command.PUSH, push_payload("ids", items)) == (OK, b"\2\0")
        assert await bench.execute(ctx, Command.PUSH, push_payload("ids", items[2:])) == (OK, b"\0\0")
        # Another stream is not held up.
        job = random_items(rng, "job", 1)
        assert await bench.execute(ctx, Command.PUSH, push_payload("job", job)) == (OK, b"\1\0")
        assert [await take_item(ctx, dut.ids) for _ in range(2)] == plain("ids", items[:2])
        assert await bench.execute(ctx, Command.PUSH, push_payload("ids", items[2:])) == (OK, b"\2\0")
        assert [await take_item(ctx, dut.ids) for _ in range(2)] == plain("ids", items[2:])
        assert await take_item(ctx, dut.job) == plain("job", job)[0]

    simulate(dut, run, cycles=10_000)


def test_push_waits_for_room():
    """An item whose place comes free within 1,024 cycles is taken."""
    dut, rng = PushCommand(TINY), random.Random(3)
    bench = CommandBench(dut, stall=0)
    items = random_items(rng, "heads", 3)
    received = []

    async def core(ctx):
        await wait(ctx, 1000)
        received.append(await take_item(ctx, dut.heads))

    async def run(ctx):
        assert await bench.execute(ctx, Command.PUSH, push_payload("heads", items)) == (OK, b"\3\0")
        assert received == plain("heads", items[:1])

    simulate(dut, run, core, cycles=3000)


def test_bad_pushes():
    dut = made(PushCommand, TINY)
    bench = CommandBench(dut)
    size = byte_count(item_layouts(TINY)["job"])

    async def run(ctx):
        for payload, error in (
            (b"", Error.BAD_LENGTH),
            (b"\0", Error.BAD_LENGTH),
            (b"\0" + bytes(size - 1), Error.BAD_LENGTH),
            (b"\0" + bytes(size + 1), Error.BAD_LENGTH),
            (b"\0" + bytes(5 * size - 1), Error.BAD_LENGTH),
            (b"\4" + bytes(size), Error.BAD_STREAM),
            (b"\x80" + bytes(size), Error.BAD_STREAM),
            (b"\xff", Error.BAD_STREAM),
        ):
            assert await bench.execute(ctx, Command.PUSH, payload) == (error, b""), payload
            assert not any(ctx.get(getattr(dut, name).valid) for name in HOST_STREAM)

    simulate(dut, run, cycles=10_000)


def test_item_too_wide():
    config = Config(num_multipliers=512, lanes=256, topk_parallelism=256, line_queue=1025)
    with pytest.raises(ValueError, match=r"an item of ids must be at most 1023 bytes for the link, not \d+"):
        PushCommand(config)


# PULL ----------------------------------------------------------------------------------------------------------------


def random_record(rng):
    stream = rng.randrange(4)
    return bytes((stream,)) + rng.randbytes(record_sizes(TINY)[stream] - 1)


@pytest.mark.parametrize("stall", [0, 0.5])
def test_pull(stall):
    """Whole records, as many as fit and are there."""
    dut, rng = PullCommand(TINY), random.Random(5)
    bench = CommandBench(dut)
    waiting, gate = [random_record(rng) for _ in range(250)], {"open": False}
    line = b"".join(waiting)

    async def queue(ctx):
        for record in waiting:
            while not gate["open"]:
                await ctx.tick()
            for place, byte in enumerate(record):
                while place and rng.random() < stall:
                    await ctx.tick()
                await give(ctx, dut.record, {"byte": byte, "last": place == len(record) - 1})

    async def pull(ctx, limit):
        error, answer = await bench.execute(ctx, Command.PULL, limit.to_bytes(2, "little"))
        assert error == OK
        return answer

    async def run(ctx):
        assert await pull(ctx, 1024) == b""
        gate["open"] = True
        await wait(ctx, 3)
        done = 0
        for limit in (0, 5, 11, 12, 200, 1024, 65535, 19, 300):
            expected = 0
            for record in waiting[done:]:
                if expected + len(record) > min(limit, MAX_PAYLOAD):
                    break
                expected += len(record)
                done += 1
            start = len(line) - len(b"".join(waiting[done:])) - expected
            assert await pull(ctx, limit) == line[start : start + expected]
        assert 0 < done < len(waiting)
        for payload in (b"", b"\1", b"\1\2\3"):
            assert await bench.execute(ctx, Command.PULL, payload) == (Error.BAD_LENGTH, b"")

    simulate(dut, run, queue, cycles=40_000)


# COUNTERS ------------------------------------------------------------------------------------------------------------


def test_counters():
    """One snapshot while they all count; cleared in the same cycle and only when that is asked for."""
    dut, rng = CountersCommand(TINY), random.Random(6)
    bench = CommandBench(dut)
    names = list(counters_layout(TINY).members)
    state = {name: rng.getrandbits(47) for name in [*names, "read 0", "read 1"]}
    clears = []

    async def count(ctx):
        while True:
            ctx.set(dut.counters, {name: state[name] for name in names})
            ctx.set(dut.words_read, [state["read 0"], state["read 1"]])
            _, _, clear = await ctx.tick().sample(dut.counters_clear)
            if clear:
                clears.append(dict(state))
            for place, name in enumerate(state):
                state[name] = 0 if clear else state[name] + place + 1

    async def run(ctx):
        for clear in (0, 1, 0, 1):
            dropped = rng.getrandbits(32)
            ctx.set(dut.dropped, dropped)
            number = len(clears)
            before = dict(state)
            error, answer = await bench.execute(ctx, Command.COUNTERS, bytes((clear,)))
            *values, last = struct.unpack(f"<{len(state) + 1}Q", answer)
            assert (error, last) == (OK, dropped)
            assert len(clears) == number + clear
            if clear:
                assert values == list(clears[-1].values())
            steps = [
                (value - old) / (place + 1)
                for place, (value, old) in enumerate(zip(values, before.values(), strict=True))
            ]
            assert len(set(steps)) == 1 and 0 < steps[0] < 30
        for payload in (b"", b"\0\0"):
            assert await bench.execute(ctx, Command.COUNTERS, payload) == (Error.BAD_LENGTH, b"")

    simulate(dut, run, count, cycles=10_000)


def test_too_many_channels():
    CountersCommand(Config(num_channels=64))
    with pytest.raises(ValueError, match="num_channels must be at most 104 for the link, not 128"):
        CountersCommand(Config(num_channels=128))
