"""IdentityCommand: the answer to VERSION, field by field."""

import struct

import pytest

from fpga.link.identity_command import IdentityCommand, identity_bytes
from fpga.spec.protocol import MAX_PAYLOAD, VERSION, Command, Error, Identity
from fpga.spec.settings import SystemSettings, config_digest
from hdl.spec.config import PRESETS
from tests.bench.command_bench import CommandBench, check_command_reset
from tests.bench.harness import made, simulate

TINY = PRESETS["tiny"]
SETTINGS = SystemSettings(
    core=TINY, clock_hz=1_000_000, baud=250_000, memory_words=256, window_base=16, window_words=200
)
LARGER = SystemSettings(core=PRESETS["ulx3s"], clock_hz=25_000_000, memory_words=1 << 12)
SIZE = struct.calcsize(Identity.FORMAT)


@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize("settings", [SETTINGS, LARGER], ids=["tiny", "ulx3s"])
def test_version(settings, stall):
    """Again and again; a request with a payload is refused and spoils nothing."""
    dut = made(IdentityCommand, settings)
    bench = CommandBench(dut, stall=stall)

    async def run(ctx):
        for _ in range(2):
            assert await bench.execute(ctx, Command.VERSION) == (0, identity_bytes(settings))
            for payload in (b"x", bytes(SIZE), bytes(MAX_PAYLOAD)):
                assert await bench.execute(ctx, Command.VERSION, payload) == (Error.BAD_LENGTH, b"")
                assert bench.taken == 0

    simulate(dut, run, cycles=1000)


def test_fields():
    values = struct.unpack(Identity.FORMAT, identity_bytes(SETTINGS))
    assert Identity(**dict(zip(Identity.__dataclass_fields__, values, strict=True))) == Identity(
        protocol=VERSION,
        channels=2,
        word_bytes=8,
        max_payload=MAX_PAYLOAD,
        window_base=16,
        window_words=200,
        clock_hz=1_000_000,
        digest=config_digest(TINY),
    )


def test_window_without_end():
    """A window of no given size goes to the end of the memory."""
    *_, base, words, clock_hz, digest = struct.unpack(Identity.FORMAT, identity_bytes(LARGER))
    assert (base, words, clock_hz, digest) == (0, 1 << 12, 25_000_000, config_digest(PRESETS["ulx3s"]))


def test_a_byte_a_cycle():
    dut = made(IdentityCommand, SETTINGS)
    bench = CommandBench(dut, stall=0)

    async def run(ctx):
        await bench.execute(ctx, Command.VERSION)
        first, *_, last = bench.times
        assert bench.times == list(range(first, first + SIZE))
        assert bench.cycles == last

    simulate(dut, run, cycles=100)


def test_reset():
    commands = [(Command.VERSION, b""), (Command.VERSION, b"x"), (Command.VERSION, b"")]
    check_command_reset(lambda: IdentityCommand(SETTINGS), commands)
