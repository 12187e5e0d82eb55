"""QueryStore: Q rows go to their channels and come back in order, whatever the order of their slices."""

import dataclasses
import random

import pytest
from amaranth.hdl import Value

from hdl.fetch.fetch_layouts import load_info, slice_elements
from hdl.fetch.query_store import QueryStore
from hdl.spec.config import PRESETS
from hdl.spec.payloads import QUERY
from sim.common.packing import pack, unpack
from tests.bench.fetch_configs import BROAD, ODD, WIDE
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.bench.row_model import load_fields

CONFIGS = {"tiny": PRESETS["tiny"], "wide": WIDE, "odd": ODD, "broad": BROAD}


class Scene:
    """Requests of rows of a few planes, and the rows; slices come back from the channels at random times."""

    def __init__(self, config, rng, number, planes=3, dims=None):
        self.config, self.seed = config, rng.random()
        self.planes = []
        for i in range(planes):
            dim, width = rng.choice(dims or config.dims), rng.choice(config.plane_widths)
            skew, base = rng.randrange(config.num_channels), 100 * i
            plane = {"base": base, "width": width, "dim": dim, "log_slices": config.log_slices(dim), "skew": skew}
            self.planes.append((plane, load_fields(config, dim=dim, width=width, base=base, skew=skew)))
        low, high = -(1 << config.operand_width >> 1), (1 << config.operand_width >> 1) - 1
        self.requests, self.rows, current = [], [], 0
        for _ in range(number):
            current = rng.randrange(planes) if rng.random() < 0.4 else current
            plane, fields = self.planes[current]
            words = [rng.randint(low, high) for _ in range(plane["dim"])]
            self.requests.append({"plane": plane, "row": rng.randrange(config.max_tokens)})
            self.rows.append((fields, words))
        self.expected = [words + [0] * (config.max_dim - len(words)) for _, words in self.rows]

    def slices(self, number, entry):
        """What the ports ``slice_*`` are given for row ``number``, slice after slice."""
        config = self.config
        fields, words = self.rows[number]
        width = config.lane_width
        for index in range(fields["last_slice"] + 1):
            part = words[index * width : (index + 1) * width]
            yield {
                "slice_load": entry["load"],
                "slice_place": entry["position"],
                "slice_index": index,
                "slice_last": int(index == fields["last_slice"]),
                "slice_words": part + [0] * (width - len(part)),
            }

    def processes(self, dut, stall):
        config, rng = self.config, random.Random(self.seed)

        async def run(ctx):
            started = 0
            flight = []  # (number of the row, place in QueryStore, slices that have not come yet)
            while True:
                # The plane of a row is in the table from the cycle after it was sent on, until its last slice.
                for number, entry, _ in flight:
                    info = dut.info[entry["load"] % config.loads]
                    fields = self.rows[number][0]
                    assert unpack(load_info(config), ctx.get(Value.cast(info))) == fields, f"plane of row {number}"
                new = []
                for channel, port in enumerate(dut.rows):
                    if ctx.get(port.valid):
                        entry = unpack(port.payload.shape(), ctx.get(Value.cast(port.payload)))
                        request = self.requests[started]
                        place = (request["row"] + request["plane"]["skew"]) % config.num_channels
                        assert channel == place and entry["index"] == request["row"] // config.num_channels
                        assert entry["load"] >> config.load_width == QUERY and not entry["end"]
                        assert entry["position"] not in [other["position"] for _, other, _ in flight]
                        new.append((started, entry, list(self.slices(started, entry))))
                        started += 1
                assert ctx.get(dut.busy) or not flight
                await self.feed(ctx, dut, rng, flight, stall)
                flight += new

        return [run]

    async def feed(self, ctx, dut, rng, flight, stall):
        """A slice of one of the rows, in its row's order, then the next cycle."""
        ctx.set(dut.slice_valid, 0)
        if flight and (stall == 0 or rng.random() >= stall):
            chosen = 0 if stall == 0 else rng.randrange(len(flight))
            given = flight[chosen][2].pop(0)
            for name, value in given.items():
                port = Value.cast(getattr(dut, name))
                ctx.set(port, pack(dut.slice_words.shape(), value) if name == "slice_words" else value)
            ctx.set(dut.slice_valid, 1)
            if not flight[chosen][2]:
                del flight[chosen]
        await ctx.tick()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.3, 0.7])
def test_rows_come_back_in_order(name, stall):
    config = CONFIGS[name]
    scene = Scene(config, random.Random(f"{name} {stall}"), 25)
    dut = made(QueryStore, config)
    busy = []

    async def watch(ctx):
        while True:
            _, _, now = await ctx.tick().sample(dut.busy)
            busy.append(now)

    results, _ = run_streams(
        dut, {"request": scene.requests}, {"o": 25}, stall=stall, processes=[*scene.processes(dut, stall), watch]
    )
    assert results["o"] == scene.expected
    assert any(busy) and not busy[-1]


def test_rate():
    """Rows of one slice and one plane: one every second cycle."""
    config = dataclasses.replace(PRESETS["tiny"], query_queue=8)
    dims = [dim for dim in config.dims if dim <= slice_elements(config)]
    scene = Scene(config, random.Random(1), 40, planes=1, dims=dims or [config.dims[0]])
    slices = scene.rows[0][0]["last_slice"] + 1
    dut = made(QueryStore, config)
    _, cycles = run_streams(dut, {"request": scene.requests}, {"o": 40}, stall=0, processes=scene.processes(dut, 0))
    assert cycles <= 40 * max(2, slices) + QueryStore.REQUEST_LATENCY + slices + QueryStore.LATENCY


def test_latencies():
    """REQUEST_LATENCY from a request to its channel, LATENCY from its last slice to the row."""
    config = PRESETS["tiny"]
    scene = Scene(config, random.Random(1), 1)
    dut = made(QueryStore, config)
    seen = {}

    async def watch(ctx):
        cycle, rows = 0, [port.valid for port in dut.rows]
        while True:
            last = dut.slice_valid & dut.slice_last
            _, _, request, last, row, *sent = await ctx.tick().sample(
                dut.request.valid & dut.request.ready, last, dut.o.valid, *rows
            )
            for name, now in (("request", request), ("sent", any(sent)), ("last", last), ("row", row)):
                if now:
                    seen.setdefault(name, cycle)
            cycle += 1

    run_streams(dut, {"request": scene.requests}, {"o": 1}, stall=0, processes=[*scene.processes(dut, 0), watch])
    assert seen["sent"] - seen["request"] == QueryStore.REQUEST_LATENCY
    assert seen["row"] - seen["last"] == QueryStore.LATENCY


@pytest.mark.parametrize("stall", [0, 0.5])
def test_reset(stall):
    """No place stays taken, no slice of the first use counts, and the first request takes the first entry again."""
    scene = Scene(ODD, random.Random(3), 8)
    check_stream_reset(
        lambda: QueryStore(ODD),
        {"request": scene.requests},
        {"o": 8},
        processes=lambda dut: scene.processes(dut, stall),
        stall=stall,
        seed=2,
        resets=6,
    )
