"""A manager of AXI4-Lite with stalls on all five channels, and a monitor of what the subordinate answers."""

from __future__ import annotations

import dataclasses
import random

from tests.bench.harness import ProtocolError

__all__ = ["Access", "AxiLiteManager"]


@dataclasses.dataclass(frozen=True)
class Access:
    """A write of ``data`` with ``strobes``, or a read."""

    address: int
    write: bool = False
    data: int = 0
    strobes: int = 15


class AxiLiteManager:
    """Does accesses, one after another or a write and a read at a time.

    In each cycle a channel's side is not willing with the chance ``stall``; whether a response is awaited with ready
    high or low is a matter of chance, too. ``answers`` has (cycle, access, response, data) in their order;
    ``patience``: most cycles of waiting.
    """

    def __init__(self, bus, *, stall: float, seed: object, patience: int = 50):
        self.bus, self.stall, self.rng = bus, stall, random.Random(f"{seed} {stall}")
        self.patience = patience
        self.cycle = 0
        self.answers: list[tuple[int, Access, int, int]] = []

    def willing(self) -> bool:
        return self.stall == 0 or self.rng.random() >= self.stall

    async def clock(self, ctx):
        """Counts cycles; runs in the background."""
        while True:
            await ctx.tick()
            self.cycle += 1

    async def monitor(self, ctx):
        """No response without its request, none that changes or goes before it is taken; runs in the background."""
        bus = self.bus
        asked = {"aw": 0, "w": 0, "ar": 0}
        held: dict[str, tuple | None] = {"b": None, "r": None}
        edge = ctx.tick().sample(
            *(getattr(bus, f"{channel}{side}") for channel in asked for side in ("valid", "ready")),
            bus.bvalid, bus.bready, bus.bresp, bus.rvalid, bus.rready, bus.rresp, bus.rdata,
        )  # fmt: skip
        while True:
            sampled = await edge
            flags, (bvalid, bready, bresp, rvalid, rready, rresp, rdata) = sampled[2:8], sampled[8:]
            responses = {"b": (bvalid, bready, (bresp,)), "r": (rvalid, rready, (rresp, rdata))}
            for channel, (valid, ready, payload) in responses.items():
                requests = ("aw", "w") if channel == "b" else ("ar",)
                if held[channel] is not None and (not valid or payload != held[channel]):
                    raise ProtocolError(f"{channel}: a response changed before it was taken")
                if valid and not all(asked[request] for request in requests):
                    raise ProtocolError(f"{channel}: a response to nothing")
                held[channel] = payload if valid and not ready else None
                if valid and ready:
                    for request in requests:
                        asked[request] -= 1
            for index, channel in enumerate(asked):
                asked[channel] += flags[2 * index] and flags[2 * index + 1]

    async def requests(self, ctx, channel: str, items: list[dict[str, int]]) -> None:
        """Items into one channel, each as soon as the one before is taken, whatever the other channels do."""
        for item in items:
            await self._offer(ctx, {channel: item}, {channel: self._delay()})

    async def responses(self, ctx, channel: str, count: int) -> list[list[int]]:
        """Responses of one channel: (response) of ``b``, (response, data) of ``r``."""
        bus = self.bus
        ports = {"b": [bus.bvalid, bus.bready, bus.bresp], "r": [bus.rvalid, bus.rready, bus.rresp, bus.rdata]}
        return [await self._response(ctx, *ports[channel]) for _ in range(count)]

    async def do(self, ctx, access: Access) -> tuple[int, int]:
        """(Response, data) of one access."""
        return await (self.write if access.write else self.read)(ctx, access)

    async def read(self, ctx, access: Access) -> tuple[int, int]:
        while not self.willing():
            await ctx.tick()
        await self._offer(ctx, {"ar": {"addr": access.address, "prot": self.rng.getrandbits(3)}}, {"ar": 0})
        bus = self.bus
        response, data = await self._response(ctx, bus.rvalid, bus.rready, bus.rresp, bus.rdata)
        self.answers.append((self.cycle, access, response, data))
        return response, data

    async def write(self, ctx, access: Access) -> tuple[int, int]:
        """Address and data in any order, or together."""
        items = {
            "aw": {"addr": access.address, "prot": self.rng.getrandbits(3)},
            "w": {"data": access.data, "strb": access.strobes},
        }
        await self._offer(ctx, items, {channel: self._delay() for channel in items})
        bus = self.bus
        (response,) = await self._response(ctx, bus.bvalid, bus.bready, bus.bresp)
        self.answers.append((self.cycle, access, response, 0))
        return response, 0

    def _delay(self) -> int:
        return 0 if self.stall == 0 else self.rng.choice([0, 0, 1, 2, 5])

    async def _offer(self, ctx, items: dict[str, dict[str, int]], delays: dict[str, int]) -> None:
        """An item into each of the channels, after its delay; what stands there before and after means nothing."""
        left = dict(items)
        for waited in range(self.patience + max(delays.values())):
            for channel in left:
                if waited == delays[channel]:
                    for name, value in items[channel].items():
                        ctx.set(getattr(self.bus, channel + name), value)
                    ctx.set(getattr(self.bus, f"{channel}valid"), 1)
            handshakes = [
                getattr(self.bus, f"{channel}valid") & getattr(self.bus, f"{channel}ready") for channel in left
            ]
            _, _, *taken = await ctx.tick().sample(*handshakes)
            for channel in [channel for channel, gone in zip(left, taken, strict=True) if gone]:
                ctx.set(getattr(self.bus, f"{channel}valid"), 0)
                for name in left.pop(channel):
                    signal = getattr(self.bus, channel + name)
                    ctx.set(signal, self.rng.getrandbits(len(signal)))
            if not left:
                return
        raise AssertionError(f"watchdog: {' and '.join(left)} not taken")

    async def _response(self, ctx, valid, ready, *payload) -> list[int]:
        """The payload; ready is high before valid, or waits for it."""
        shy = self.stall and self.rng.random() < 0.5
        for _ in range(self.patience):
            ctx.set(ready, not shy and self.willing())
            _, _, come, taken, *items = await ctx.tick().sample(valid, valid & ready, *payload)
            shy = shy and not come
            if taken:
                ctx.set(ready, 0)
                return items
        raise AssertionError("watchdog: no response")
