"""What a proof is made of: a block with free inputs, what is assumed of them, and what is claimed of the outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cover, Elaboratable, Module, Mux, ResetSignal, Signal, Value, ValueLike
from amaranth.lib import wiring

from formal.inside import Inside

__all__ = ["Harness", "Scoreboard", "width_of"]


def width_of(value: ValueLike) -> int:
    return len(Value.cast(value))


class Harness(Elaboratable):
    """A block with all that a solver needs to know.

    ``claims`` are the properties that are proved, by name, in the order in which they were made; a lemma is proved with
    them, but is only there to make the induction go through. Statements may stand under ``with harness.m.If(…)``.
    Reset is never given.
    """

    def __init__(self):
        self.m = Module()
        self.claims: list[str] = []
        self.covers: list[str] = []
        self.m.d.comb += Assume(~ResetSignal())

    def elaborate(self, platform):
        return self.m

    def block(self, block, name: str = "dut"):
        """Put a block into the proof."""
        self.m.submodules[name] = block
        return block

    def open(self, block: wiring.Component, name: str = "dut", also: Sequence[ModuleType] = ()) -> Inside:
        """Put a block into the proof whose inner signals will be named; ``also`` as in :class:`Inside`."""
        inside = Inside(block, also)
        self.m.submodules[name] = block
        return inside

    def claim(self, name: str, condition: ValueLike) -> None:
        if name not in self.claims:
            self.claims.append(name)
        self.m.d.comb += Assert(condition, name)

    def lemma(self, condition: ValueLike, name: str = "lemma") -> None:
        self.m.d.comb += Assert(condition, name)

    def assume(self, condition: ValueLike) -> None:
        self.m.d.comb += Assume(condition)

    def cover(self, name: str, condition: ValueLike) -> None:
        """Something that must be reachable: the assumptions leave room for what the claims speak of."""
        self.covers.append(name)
        self.m.d.comb += Cover(condition, name)

    def let(self, name: str, value: ValueLike) -> Signal:
        """A name for a value."""
        signal = Signal.like(Value.cast(value), name=name)
        self.m.d.comb += signal.eq(value)
        return signal

    def any(self, width: int, name: str, *, constant: bool = False) -> Signal:
        """A free value, in each cycle another, or one for ever."""
        signal = Signal(width, name=name)
        self.m.d.comb += signal.eq(AnyConst(width) if constant else AnySeq(width))
        return signal

    def free(self, *signals: ValueLike) -> None:
        """Inputs about which nothing is assumed."""
        for signal in signals:
            value = Value.cast(signal)
            if len(value):
                self.m.d.comb += value.eq(AnySeq(len(value)))

    def source(self, stream, name: str) -> Value:
        """A stream into the block: at any time, any item, which stays until it is taken. Returns: an item is taken."""
        self.free(stream.valid, stream.payload)
        self._held(stream, name, lambda text, condition: self.assume(condition))
        return stream.valid & stream.ready

    def sink(self, stream, name: str = "o", *, mask: ValueLike | None = None) -> Value:
        """A stream out of the block, taken at any time; claims that items stay until then. Returns: an item is taken.

        mask: bits of the payload that mean something.
        """
        self.free(stream.ready)
        self._held(stream, name, self.claim, mask)
        return stream.valid & stream.ready

    def _held(self, stream, name: str, say: Callable[[str, ValueLike], None], mask: ValueLike | None = None) -> None:
        m, width, bits = self.m, max(1, width_of(stream.payload)), Value.cast(stream.payload).as_unsigned()
        sizes = (("waited", 1), ("was", width))
        waited, was = (Signal(size, name=f"{name}_{what}".replace(" ", "_")) for what, size in sizes)
        m.d.sync += [waited.eq(stream.valid & ~stream.ready), was.eq(bits if mask is None else bits & mask)]
        with m.If(waited):
            say(f"{name} stays until it is taken", stream.valid & ((bits if mask is None else bits & mask) == was))


class Scoreboard:
    """Follows one item, whichever the solver picks, from the stream into a block to the stream out of it.

    pushed, popped: an item goes in, comes out in this cycle. capacity: most items inside. ``chosen`` is high as the
    item goes in, ``leaves`` as it comes out if the block keeps the order, ``inside`` is the number of items in the
    block, ``ahead`` of them are before the chosen one while it is ``live``.
    """

    def __init__(self, harness: Harness, pushed: ValueLike, popped: ValueLike, capacity: int):
        m = harness.m
        self.inside, self.ahead = Signal(range(capacity + 1)), Signal(range(capacity + 1))
        self.live, self.used = Signal(), Signal()
        self.chosen, self.leaves = Signal(), Signal()
        through = self.chosen & popped & (self.inside == 0)
        m.d.comb += [
            self.chosen.eq(pushed & ~self.used & harness.any(1, "choose")),
            self.leaves.eq((popped & self.live & (self.ahead == 0)) | through),
        ]
        m.d.sync += self.inside.eq(self.inside + Value.cast(pushed) - Value.cast(popped))
        with m.If(self.chosen):
            m.d.sync += [self.live.eq(~through), self.used.eq(1), self.ahead.eq(self.inside - popped)]
        with m.Elif(self.live & popped):
            m.d.sync += [self.live.eq(self.ahead != 0), self.ahead.eq(Mux(self.ahead == 0, 0, self.ahead - 1))]
        harness.claim("nothing comes out that did not go in", ~popped | (self.inside != 0) | pushed)
        harness.claim(f"holds at most {capacity} items", ~pushed | popped | (self.inside != capacity))
        harness.lemma(~self.live | (self.ahead < self.inside), "scoreboard")
        harness.lemma(~self.live | self.used, "scoreboard")

    def follow(self, harness: Harness, given: ValueLike, taken: ValueLike) -> Signal:
        """Claim that the item comes out as it went in; returns what is awaited."""
        want = Signal(max(1, width_of(given)), name="want")
        with harness.m.If(self.chosen):
            harness.m.d.sync += want.eq(Value.cast(given))
        with harness.m.If(self.leaves):
            value = Mux(self.chosen, Value.cast(given), want)
            harness.claim("items come out in order, none lost, doubled or changed", Value.cast(taken) == value)
        return want
