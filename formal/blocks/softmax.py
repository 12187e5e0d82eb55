"""RowMax, Exponential, Reciprocal: the results of every row and for every input."""

from amaranth.hdl import Array, Cat, Const, Mux, Signal, Value, signed

from formal.blocks.arithmetic import later
from formal.harness import Harness
from formal.methods import Induction
from formal.proof import Proof
from formal.seeds import Bug
from hdl.softmax import exponential as helpers
from hdl.softmax.exponential import Exponential
from hdl.softmax.reciprocal import Reciprocal
from hdl.softmax.row_max import RowMax
from hdl.spec import numerics as N
from hdl.spec.config import PRESETS, Config

__all__ = ["PROOFS"]


def _largest(values: list[Value]) -> Value:
    """In pairs, as a maximum may be taken in any order."""
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2], strict=True)
        values = [Mux(x > y, x, y) for x, y in pairs]
    return values[0]


def _history(h: Harness, name: str, value: Value, cycles: int, enable: Value | int = 1) -> list[Value]:
    """The value, and what it was 1, 2 … enabled cycles ago."""
    values = [value]
    for count in range(1, cycles + 1):
        values.append(later(h, f"{name}_{count}", values[-1], 1, enable))
    return values


def row_max(config: Config) -> Harness:
    """The registers of the tree, lanes of row A and of row B, hold the largest scores of their part of a line."""
    h = Harness()
    m, inside = h.m, h.open(RowMax(config))
    dut, line = inside.block, inside.block.i.payload
    h.source(dut.i, "i")
    h.sink(dut.o)
    enable = inside("en")
    h.assume(line.a_count + line.b_count <= config.lanes)
    lowest = Const(-(1 << config.score_width - 1), signed(config.score_width))
    steps = config.lanes.bit_length()  # registers from the lanes to the root of the tree
    scores = [_history(h, f"score_{k}", score, steps, enable) for k, score in enumerate(line.scores)]
    counts, others, lasts = (
        _history(h, name, Value.cast(line[name]), steps, enable) for name in ("a_count", "b_count", "a_last")
    )
    valids = _history(h, "came", dut.i.valid, steps, enable)
    roots = {}
    for step in range(1, steps + 1):
        a, total = counts[step], counts[step] + others[step]
        own = [Mux(k < a, scores[k][step], lowest) for k in range(config.lanes)]
        following = [Mux((k >= a) & (k < total), scores[k][step], lowest) for k in range(config.lanes)]
        for letter, values in (("a", own), ("b", following)):
            for index, first in enumerate(range(0, config.lanes, 1 << step - 1)):
                roots[letter] = _largest(values[first : first + (1 << step - 1)])
                register = inside.named("_register", "name", "register")[f"{letter}_{step - 1}_{index}"]
                h.lemma(~valids[step] | (register == roots[letter]), f"{letter}_{step - 1}_{index}")
        h.lemma(inside("next_valid", "_advance", step - 1) == valids[step])
        h.lemma(~valids[step] | (inside("next_last", "_advance", step - 1) == lasts[step]))
    running = Signal(signed(config.score_width), init=lowest.value)
    largest = h.let("largest", Mux(running > roots["a"], running, roots["a"]))
    ends, want = Signal(), Signal(signed(config.score_width))
    with m.If(enable):
        m.d.sync += [ends.eq(valids[steps] & lasts[steps]), want.eq(largest)]
        with m.If(valids[steps]):
            m.d.sync += running.eq(Mux(lasts[steps], roots["b"], largest))
    h.lemma(inside("running", "_accumulate") == running)
    h.claim("a maximum for each row that ends, and no other", dut.o.valid == ends)
    h.claim("it is the largest of the row's scores", ~dut.o.valid | (dut.o.payload == want))
    h.cover("a row ends that began in a line of another row", dut.o.valid & (dut.o.payload == 5) & (running == 3))
    return h


def _table(h: Harness, name: str, init: list[int], index: Value) -> Value:
    width = max(init).bit_length()
    return h.let(name, Array(Const(value, width) for value in init)[index])


def _holds(h: Harness, enable: Value, registers: list[Value]) -> None:
    """With it, what holds of a pipeline that is always enabled holds of each of its enabled cycles."""
    h.free(enable)
    was = [later(h, f"was_{index}", value, 1) for index, value in enumerate(registers)]
    stopped = later(h, "stopped", ~enable, 1)
    same = Cat(Value.cast(new) == old for new, old in zip(registers, was, strict=True)).all()
    h.claim("nothing moves in a cycle without en", ~stopped | same)
    h.cover("a cycle without en", stopped)


def exponential(config: Config, *, stalls: bool) -> Harness:
    h = Harness()
    inside = h.open(Exponential(config))
    dut, low_bits, read, whole = inside.block, N.X_FRAC - N.EXP_INDEX, inside("read").data, inside("whole")
    h.free(dut.x)
    if stalls:
        registers = [inside(name) for name in ("low", "base", "product", "mantissa", "coarse")]
        _holds(h, dut.en, [*registers, read, *whole[1:], dut.e])
        return h
    h.m.d.comb += dut.en.eq(1)
    xs = _history(h, "x", dut.x, dut.LATENCY)
    started = _history(h, "started", Const(1, 1), dut.LATENCY)
    for stage in range(1, 5):
        h.lemma(whole[stage] == xs[stage][N.X_FRAC :], "whole")

    def parts(step: int) -> tuple[Value, Value, Value]:
        """base, slope * interpolated bits and mantissa of the x of so many cycles ago."""
        x = xs[step]
        base = _table(h, f"base_{step}", N.EXP_BASE, x[low_bits : N.X_FRAC])
        slope = _table(h, f"slope_{step}", N.EXP_SLOPE, x[low_bits : N.X_FRAC])
        product = h.let(f"product_{step}", slope * x[:low_bits])
        rounded = (product + (1 << low_bits >> 1)) >> low_bits
        return base, product, h.let(f"mantissa_{step}", (base - rounded)[: N.EXP_WIDTH])

    slope = _table(h, "slope", N.EXP_SLOPE, xs[1][low_bits : N.X_FRAC])
    h.lemma(~started[1] | ((read.base == parts(1)[0]) & (read.slope == slope)), "stage 1")
    h.lemma(inside("low") == xs[1][:low_bits], "stage 1")
    h.lemma(~started[2] | ((inside("base") == parts(2)[0]) & (inside("product") == parts(2)[1])), "stage 2")
    h.lemma(~started[3] | (inside("mantissa") == parts(3)[2]), "stage 3")
    coarse = Cat(Const(0, 1), parts(4)[2]) >> Cat(Const(0, 3), xs[4][N.X_FRAC + 3 :])
    h.lemma(~started[4] | (inside("coarse") == coarse), "stage 4")
    shift = xs[5][N.X_FRAC :]
    half = Mux(shift == 0, 0, Const(1, 32) << (shift - 1)[:5])
    h.claim("e as golden.datapath.integer.exp2_neg", ~started[5] | (dut.e == (parts(5)[2] + half) >> shift))
    h.cover("2**-3.5 comes out", started[5] & (xs[5] == int(3.5 * 2**N.X_FRAC)))
    return h


def _exponent(h: Harness, name: str, exp_sum: Value) -> Signal:
    exponent = Signal(4, name=name)
    for bit in range(1, len(exp_sum) - N.EXP_FRAC):
        with h.m.If(exp_sum[N.EXP_FRAC + bit :].any()):
            h.m.d.comb += exponent.eq(bit)
    return exponent


def _normalized(h: Harness, step: int, exp_sum: Value, exponent: Value) -> tuple[Value, Value, Value, Value]:
    """Fraction, base, slope and interpolated bits of a sum."""
    bits = N.RECIP_INDEX + N.RECIP_LOW
    fraction = h.let(f"fraction_{step}", ((exp_sum << bits - N.EXP_FRAC) >> exponent)[:bits])
    index = fraction[N.RECIP_LOW :]
    base = _table(h, f"base_{step}", N.RECIP_BASE, index)
    return fraction, base, _table(h, f"slope_{step}", N.RECIP_SLOPE, index), fraction[: N.RECIP_LOW]


def reciprocal(config: Config, *, stalls: bool) -> Harness:
    h = Harness()
    inside = h.open(Reciprocal(config), also=(helpers,))
    dut = inside.block
    read, point, copies = (
        inside("read", "_look_up").data,
        inside("point", "_look_up"),
        inside.named("delayed", "name", "values"),
    )
    taken, fraction = inside("exp_sum", "_normalize"), inside("fraction")
    h.free(dut.exp_sum)
    h.assume((dut.exp_sum >= 1 << N.EXP_FRAC) & (dut.exp_sum <= config.max_tokens << N.EXP_FRAC))
    if stalls:
        registers = [read, point, taken, fraction, *copies["low"][1:], *copies["pe"][1:]]
        _holds(h, dut.en, [*registers, *(inside(name) for name in ("pe", "base", "product")), dut.recip, dut.pe])
        return h
    h.m.d.comb += dut.en.eq(1)
    sums = _history(h, "sum", dut.exp_sum, dut.LATENCY)
    started = _history(h, "started", Const(1, 1), dut.LATENCY)
    exponents = [_exponent(h, f"exponent_{step}", value) for step, value in enumerate(sums)]

    def parts(step: int) -> tuple[Value, Value, Value, Value]:
        return _normalized(h, step, sums[step], exponents[step])

    h.lemma(~started[1] | (taken == sums[1]), "stage 1")
    h.lemma(~started[2] | (fraction == parts(2)[0]), "stage 2")
    for step, entry in ((3, read), (4, point)):
        _, base, slope, low = parts(step)
        h.lemma(~started[step] | ((entry.base == base) & (entry.slope == slope)), f"stage {step}")
        h.lemma(~started[step] | (copies["low"][step - 2] == low), f"stage {step}")
    _, base, slope, low = parts(5)
    h.lemma(~started[5] | ((inside("base") == base) & (inside("product") == slope * low)), "stage 5")
    for stage, value in enumerate(copies["pe"]):
        h.lemma(~started[1 + stage] | (value == exponents[1 + stage]), "exponent")
    _, base, slope, low = parts(6)
    want = base - ((slope * low + (1 << N.RECIP_LOW >> 1)) >> N.RECIP_LOW)
    h.claim("recip as golden.datapath.integer.reciprocal", ~started[6] | (dut.recip == want[: N.RECIP_WIDTH]))
    h.claim("pe as golden.datapath.integer.reciprocal", ~started[6] | (dut.pe == exponents[6]))
    h.cover("1 / 3 comes out", started[6] & (sums[6] == 3 << N.EXP_FRAC))
    return h


def _proof(name: str, block: str, configuration: str, build, bug: Bug, reach: int) -> Proof:
    return Proof(
        name=name, block=block, configuration=configuration, build=build, bugs=(bug,), method=Induction(1), reach=reach
    )


_EXPONENTIAL = (
    (
        False,
        "always enabled",
        Bug("hdl.softmax.exponential", "(product + (1 << _LOW >> 1)) >> _LOW", "product >> _LOW"),
    ),
    (True, "with stalls", Bug("hdl.softmax.exponential", "read.en.eq(self.en)", "read.en.eq(1)")),
)
_ROUND = "(product + (1 << N.RECIP_LOW >> 1)) >> N.RECIP_LOW"
_RECIPROCAL = (
    (False, "always enabled", Bug("hdl.softmax.reciprocal", _ROUND, "product >> N.RECIP_LOW")),
    (True, "with stalls", Bug("hdl.softmax.reciprocal", "read.en.eq(self.en)", "read.en.eq(1)")),
)

PROOFS = (
    *(
        _proof(
            f"row_max_{preset}",
            "RowMax",
            f"`{preset}`",
            lambda preset=preset: row_max(PRESETS[preset]),
            Bug("hdl.softmax.row_max", "in_b = ~in_a & (lane <", "in_b = ~in_a & (lane <="),
            14,
        )
        for preset in ("tiny",)
    ),
    *(
        _proof(
            f"{name}_{preset}{'_stalls' if stalls else ''}",
            block,
            f"`{preset}`, {text}",
            lambda build=build, preset=preset, stalls=stalls: build(PRESETS[preset], stalls=stalls),
            bug,
            10,
        )
        for name, block, preset, build, cases in (
            ("exponential", "Exponential", "tiny", exponential, _EXPONENTIAL),
            ("reciprocal", "Reciprocal", "tiny", reciprocal, _RECIPROCAL),
        )
        for stalls, text, bug in cases
    ),
)
