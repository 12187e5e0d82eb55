"""LaneReducer, KeepMask, FlatnessCheck: the results, for every input."""

from amaranth.hdl import Mux, Signal, Value

from formal.harness import Harness
from formal.methods import Induction
from formal.proof import Proof
from formal.seeds import Bug
from hdl.pv.lane_reducer import LaneReducer
from hdl.softmax.flatness_check import FlatnessCheck
from hdl.spec.config import PRESETS, Config
from hdl.topk.keep_mask import KeepMask

__all__ = ["PROOFS"]


def later(h: Harness, name: str, value, cycles: int, enable=1):
    """The value so many enabled cycles ago."""
    value = Value.cast(value)
    for stage in range(cycles):
        register = Signal(value.shape(), name=f"{name}_{stage}")
        with h.m.If(enable):
            h.m.d.sync += register.eq(value)
        value = register
    return value


def lane_reducer(config: Config) -> Harness:
    h = Harness()
    dut = h.block(LaneReducer(config))
    terms = [[dut.terms[lane][e] for e in range(dut.width)] for lane in range(config.lanes)]
    h.free(dut.valid, *dut.gates, *(term for lane in terms for term in lane))
    valid = later(h, "came", dut.valid, dut.latency)
    for j, total in enumerate(dut.o):
        gate = [dut.gates[j // dut.group][lane] if dut.gated else 1 for lane in range(config.lanes)]
        want = sum(Mux(gate[lane], terms[lane][j % dut.width], 0) for lane in range(config.lanes))
        want = later(h, f"want_{j}", want[: config.acc_width].as_signed(), dut.latency)
        h.claim("each output is the sum of its lanes with an open gate", ~valid | (total == want))
    h.cover("a sum comes out", valid & (dut.o[0] != 0))
    return h


def keep_mask(lanes: int, width: int) -> Harness:
    h = Harness()
    dut = h.block(KeepMask(lanes=lanes, count_width=width))
    h.free(dut.greater, dut.equal, dut.ties)
    h.assume((dut.greater & dut.equal) == 0)
    kept = dut.keep & dut.equal
    for lane in range(lanes):
        before = sum(dut.equal[k] for k in range(lane))
        want = dut.greater[lane] | (dut.equal[lane] & (before < dut.ties))
        h.claim("keeps what is greater and the first ties, nothing else", dut.keep[lane] == want)
    h.claim("used is the number of ties that are kept", dut.used == sum(kept[k] for k in range(lanes)))
    h.cover("some ties are kept, others are not", kept.any() & (dut.equal & ~dut.keep).any())
    return h


def flatness(config: Config) -> Harness:
    h = Harness()
    dut = h.block(FlatnessCheck(config))
    h.free(dut.en, dut.exp_sum, dut.flat_limit, dut.check)
    started = later(h, "started", 1, 1, dut.en)
    want = later(h, "want", dut.check & (dut.exp_sum > dut.flat_limit), 1, dut.en)
    h.claim("flat as golden.datapath.integer.is_flat, if checked", ~started | (dut.flat == want))
    h.lemma(dut.flat == want)
    h.cover("a row is flat", dut.flat)
    return h


_SUBTRACTED = Bug("hdl.pv.lane_reducer", "[low + high for", "[low - high for")


def _proof(name: str, block: str, configuration: str, build, bug: Bug, steps: int = 1) -> Proof:
    return Proof(
        name=name, block=block, configuration=configuration, build=build, bugs=(bug,), method=Induction(steps), reach=8
    )


PROOFS = (
    *(
        _proof(f"lane_reducer_{n}", "LaneReducer", f"`{n}`", lambda n=n: lane_reducer(PRESETS[n]), _SUBTRACTED, 4)
        for n in ("tiny", "ulx3s", "eighth")
    ),
    *(
        _proof(
            f"keep_mask_{lanes}",
            "KeepMask",
            f"{lanes} lanes, {width} bits",
            lambda lanes=lanes, width=width: keep_mask(lanes, width),
            Bug("hdl.topk.keep_mask", "(before[lane] < limit)", "(before[lane] <= limit)"),
        )
        for lanes, width in ((2, 7), (4, 3), (8, 11), (16, 11))
    ),
    *(
        _proof(
            f"flatness_check_{n}",
            "FlatnessCheck",
            f"`{n}`",
            lambda n=n: flatness(PRESETS[n]),
            Bug("hdl.softmax.flatness_check", "self.exp_sum > self.flat_limit", "self.exp_sum >= self.flat_limit"),
        )
        for n in ("tiny", "paper")
    ),
)
