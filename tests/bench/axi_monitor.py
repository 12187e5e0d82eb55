"""Rules of AXI4 that a manager must keep, whatever its bus does."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Value

from hdl.axi.axi4 import INCR, PAGE_BYTES

__all__ = ["AxiMonitor", "AxiRuleError"]


class AxiRuleError(AssertionError):
    """A manager broke a rule of AXI4, or went outside its window."""


class AxiMonitor:
    """Watches the signals of a manager. Every rule broken is an :class:`AxiRuleError`.

    VALID stays until READY, and all that goes with it; bursts are INCR, of whole words, within a page of 4 KiB and the
    bytes ``window``; RREADY and BREADY never fall; beats of W go with their requests, WLAST with the last one.

    Members
    -------
    bursts : (byte address, beats) of every request taken, in order
    outstanding : requests whose last beat (B: response) the bus has not given; most : the most of them at once
    """

    def __init__(self, bus: Any, *, data_width: int, window: tuple[int, int]):
        self.bus, self.bytes, self.window = bus, data_width // 8, window
        self.bursts: list[tuple[int, int]] = []
        self.outstanding = self.most = 0
        self.beats = 0
        """Beats of W."""
        members = {name for name, _ in bus.signature.members.items()}
        self.reads = "arvalid" in members
        prefixes = ("ar",) if self.reads else ("aw", "w")
        self._names = {
            prefix: sorted(n for n in members if n.startswith(prefix) and n[len(prefix) :] not in ("valid", "ready"))
            for prefix in prefixes
        }
        self._held: dict[str, list[int]] = {}
        self._lengths: deque[int] = deque()  # beats of requests to write of which some are to come
        self._ended: deque[int] = deque()  # beats up to WLAST of those whose request is not taken
        self._given = 0  # beats since the last WLAST

    def _require(self, holds: bool, text: str) -> None:
        if not holds:
            raise AxiRuleError(text)

    async def watch(self, ctx: Any) -> None:
        """A background process."""
        bus, ready = self.bus, "rready" if self.reads else "bready"
        signals: list[Any] = []
        for prefix, names in self._names.items():
            signals += [getattr(bus, f"{prefix}valid"), getattr(bus, f"{prefix}ready")]
            signals += [Value.cast(getattr(bus, name)) for name in names]
        ends = (bus.rvalid, bus.rlast) if self.reads else (bus.bvalid, bus.bready)
        edge = ctx.tick().sample(getattr(bus, ready), *signals, *ends)
        while True:
            _, _, willing, *values = await edge
            self._require(bool(willing), f"{ready} fell")
            values = iter(values)
            for prefix, names in self._names.items():
                self._channel(prefix, names, next(values), next(values), values)
            end = [next(values), next(values)]
            if all(end):
                self.outstanding -= 1

    def _channel(self, prefix: str, names: list[str], valid: int, ready: int, values: Iterable[int]) -> None:
        fields = [next(iter(values)) for _ in names]
        if prefix in self._held:
            self._require(bool(valid), f"{prefix}valid fell before {prefix}ready")
            for name, before, now in zip(names, self._held.pop(prefix), fields, strict=True):
                self._require(before == now, f"{name} changed from {before:#x} to {now:#x} before {prefix}ready")
        if valid and not ready:
            self._held[prefix] = fields
        if valid:
            named = dict(zip(names, fields, strict=True))
            if prefix == "w":
                self._beat(named, taken=bool(ready))
            else:
                self._request(prefix, named, taken=bool(ready))

    def _request(self, prefix: str, fields: dict[str, int], *, taken: bool) -> None:
        address, beats = fields[f"{prefix}addr"], fields[f"{prefix}len"] + 1
        last = address + beats * self.bytes - 1
        self._require(fields[f"{prefix}burst"] == INCR, f"{prefix}burst is not INCR")
        self._require(1 << fields[f"{prefix}size"] == self.bytes, f"{prefix}size is not the word's")
        self._require(address % self.bytes == 0, f"{prefix}addr {address:#x} is not a word's")
        self._require(address // PAGE_BYTES == last // PAGE_BYTES, f"{address:#x} + {beats} crosses 4 KiB")
        inside = self.window[0] <= address and last < self.window[1]
        self._require(inside, f"{address:#x} + {beats} is outside the window")
        if taken:
            self.bursts.append((address, beats))
            if not self.reads:
                self._lengths.append(beats)
                self._compare()
            self.outstanding += 1
            self.most = max(self.most, self.outstanding)

    def _beat(self, fields: dict[str, int], *, taken: bool) -> None:
        self.beats += taken
        self._given += taken
        if taken and fields["wlast"]:
            self._ended.append(self._given)
            self._given = 0
        self._compare()

    def _compare(self) -> None:
        """Beats may go before their request is taken."""
        while self._lengths and self._ended:
            self._require(self._lengths.popleft() == self._ended.popleft(), "wlast was not with the last beat")
        self._require(not self._lengths or self._given < self._lengths[0], "no wlast with the last beat")
