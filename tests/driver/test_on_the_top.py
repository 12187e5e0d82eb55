"""The C driver, compiled, on the AXI top in simulation: it talks to registers, and shares its memory."""

import ctypes
import queue
import random
import threading

import pytest

from hdl.spec.config import PRESETS
from hdl.spec.digest import config_digest
from hdl.spec.formats import COMPLETION_BYTES, completion
from sim.common.packing import unpack
from sim.transport.commands import Wanted, place_layer
from sim.transport.host_memory import HostMemory
from sim.transport.memory import MemoryImage
from tests.bench.append_planes import KEY, QUERY, VALUE, Layer
from tests.bench.append_scene import AppendScene
from tests.bench.axi_lite_bench import Access
from tests.bench.axi_system import AxiSystem
from tests.bench.jobs import random_layers
from tests.driver.test_driver import C99, HERE, compiled
from tests.hdl.test_spatten_axi import check_layer

TINY = PRESETS["tiny"]
POINTER, ADDRESS, WORD = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32
READ = ctypes.CFUNCTYPE(WORD, POINTER, WORD)
WRITE = ctypes.CFUNCTYPE(None, POINTER, WORD, WORD)
PAUSE = ctypes.CFUNCTYPE(None, POINTER)
PATIENCE = 120
"""Seconds for which one side awaits the other."""


class Hooks(ctypes.Structure):
    """struct spatten_hooks."""

    _fields_ = (
        ("context", POINTER),
        ("read", READ),
        ("write", WRITE),
        *((name, POINTER) for name in ("write_barrier", "read_barrier", "clean", "invalidate")),
        ("pause", PAUSE),
    )


class Client(ctypes.Structure):
    """struct client."""

    _fields_ = (
        ("memory", POINTER),
        *((name, ADDRESS) for name in ("base", "limit", "rings", "digest")),
        ("channels", POINTER),
        ("commands", POINTER),
        ("num_commands", WORD),
        ("completions", POINTER),
    )


class Bridge:
    """Calls of the driver, which runs in a thread, are done by the bench, one after another."""

    def __init__(self, run, client):
        self.requests, self.answers = queue.Queue(), queue.Queue()
        self.hooks = Hooks(
            read=READ(lambda _, offset: self.ask("read", offset)),
            write=WRITE(lambda _, offset, value: self.ask("write", offset, value)),
            pause=PAUSE(lambda _: self.ask("pause")),
        )

        def work():
            self.requests.put(("end", run(ctypes.byref(client), ctypes.byref(self.hooks))))

        self.thread = threading.Thread(target=work, daemon=True)

    def ask(self, *request):
        self.requests.put(request)
        return self.answers.get(timeout=PATIENCE)

    async def serve(self, ctx, system):
        """What the driver returned; every access must be answered by OKAY."""
        self.thread.start()
        while True:
            kind, *arguments = self.requests.get(timeout=PATIENCE)
            result = 0
            if kind == "end":
                return arguments[0]
            if kind == "pause":
                await ctx.tick().repeat(20)
            elif kind == "read":
                response, result = await system.software.manager.read(ctx, Access(arguments[0]))
                assert response == 0, f"read at {arguments[0]:#x}"
            else:
                response, _ = await system.software.manager.write(ctx, Access(arguments[0], True, arguments[1]))
                assert response == 0 or not arguments[1], f"write at {arguments[0]:#x}"
            self.answers.put(result)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("client") / "client.so"
    result = compiled(C99, "-shared", "-fPIC", HERE / "client.c", "-o", path)
    assert result.returncode == 0, result.stderr
    return ctypes.CDLL(str(path))


def run(function, client, system):
    """A part of the client, with the top; both must end."""
    bridge, line = Bridge(function, client), []

    async def bench(ctx):
        line.append(await bridge.serve(ctx, system))

    system.run(bench, cycles=200_000)
    assert line == [0], f"client.c, line {line[0]}"


def run_commands(library, commands, bases, rings, system):
    """Completions by tag of commands that the client runs; planes begin at ``bases``."""
    memory, raw = system.memory, b"".join(commands)
    channels, answers = (ADDRESS * len(bases))(*bases), ctypes.create_string_buffer(COMPLETION_BYTES * len(commands))
    client = Client(
        memory=memory.bytes.ctypes.data,
        base=memory.base,
        limit=memory.limit,
        rings=rings,
        digest=config_digest(TINY),
        channels=ctypes.cast(channels, POINTER),
        commands=ctypes.cast(raw, POINTER),
        num_commands=len(commands),
        completions=ctypes.cast(answers, POINTER),
    )
    run(library.client_run, client, system)
    told = {}
    for at in range(0, len(answers.raw), COMPLETION_BYTES):
        found = unpack(completion(), int.from_bytes(answers.raw[at : at + COMPLETION_BYTES], "little"))
        told[found["tag"]] = found
    return told


def test_driver_on_the_top(library):
    """Random layers equal to golden, rounds of the rings, full rings, abort, resume, restart and soft reset."""
    rng = random.Random(3)
    layers, results, selections = random_layers(TINY, rng, 5, dim=16, tokens=16)
    memory, image = HostMemory(1 << 20, fill=0xEE), MemoryImage(TINY)
    exponents = [[0] * len(layer.head_ids) for layer in layers]
    placed = [
        place_layer(layer, TINY, image, memory, Wanted(tag=index, write_state=bool(layer.select)))
        for index, layer in enumerate(layers)
    ]
    bases, rings = memory.place(image), memory.take(8192, align=4096)
    system = AxiSystem(TINY, memory, stall=0.1, seed=3)
    told = run_commands(library, [each.command for each in placed], bases, rings, system)
    assert all(found["code"] == 0 for found in told.values()), told
    for index, layer in enumerate(layers):
        chosen = results[index], selections[index], memory, exponents[index], told[index], bool(layer.select)
        check_layer(placed[index], layer, *chosen)


def test_appended_rows_on_the_top(library):
    """Commands of rows of K, V and Q, and of a layer that attends them, pass the driver's checks as they are."""
    planes = Layer(TINY, dim=16, widths=(8, 6, 4, 8), heads=2, group=2, rows=6, queries=2, seed=1)
    scene = AppendScene(planes, seed=1)
    appends = [scene.append(KEY, VALUE, rows=6), scene.append(QUERY, rows=2, half=True)]
    layer = scene.attention(tag=2)
    commands, rings = [*(each.command for each in appends), layer.command], scene.memory.take(8192, align=4096)
    scene.free.append((rings, 8192))
    scene.mark()
    told = run_commands(library, commands, scene.bases, rings, scene.system)
    codes = {tag: (found["code"], found["tokens"]) for tag, found in told.items()}
    assert codes == {0: (0, appends[0].saturated), 1: (0, appends[1].saturated), 2: (0, 0)}
    scene.check()
    scene.check_attention(layer)


@pytest.mark.parametrize("fault", ["slverr", "decerr"])
def test_fault_on_the_top(library, fault):
    """A command that the bus does not give."""
    memory = HostMemory(1 << 20)
    rings = memory.take(8192, align=4096)
    client = Client(memory=memory.bytes.ctypes.data, base=memory.base, limit=memory.limit, rings=rings)
    run(library.client_fault, client, AxiSystem(TINY, memory, faults={"tables": {2: fault}}))
