import re

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.emit.names import dotted, name_modules, name_signals
from hdl.emit.rtlil import parse, render
from hdl.spec.config import PRESETS
from hdl.verilog import to_verilog

TEXT = """
attribute \\src "/somewhere/queue.py:4"
module \\top
  wire width 1 output 0  \\ready
  wire width 1 $2
  wire width 1 \\ready$43
  wire width 1 \\ready_1
  wire width 1 $1
  wire width 4 \\x.field[2]
  wire width 1 \\$signal
  memory width 1 size 3 \\table$9
  cell $memrd_v2 $3
    parameter \\MEMID "\\\\table$9"
    connect \\DATA $1
  end
  cell $dff $4
    parameter \\WIDTH 1
    connect \\D $2 [0]
    connect \\Q \\ready$43
  end
  cell \\top.a \\first$7
    connect \\port$12$0 \\x.field[2] [1]
  end
  connect \\ready { $1 [0] \\$signal [0] }
end
attribute \\src "/somewhere/queue.py:4"
module \\top.a
  wire width 1 input 0  \\port$12$0
end
"""


def test_plain_names():
    modules = parse(TEXT)
    name_modules(modules, "core")
    name_signals(modules)
    text = render(modules)
    assert [module.name for module in modules] == ["\\core", "\\core_queue"]
    assert list(modules[0].wires) == [
        "\\ready", "\\ready_2_next", "\\ready_2", "\\ready_1", "\\_1", "\\x_field_2", "\\signal"
    ]  # fmt: skip
    assert 'parameter \\MEMID "\\\\table"' in text and "memory width 1 size 3 \\table\n" in text
    assert "cell \\core_queue \\first\nconnect \\port \\x_field_2 [1]\n" in text
    assert "connect \\ready { \\_1 [0] \\signal [0] }" in text
    assert not re.search(r"\\\w*[$.]", text)


def test_modules_of_one_file_are_counted():
    files = {"a": "queue", "b": "fork", "c": "queue", "d": "queue"}
    texts = [f'attribute \\src "/x/{file}.py:1"\nmodule \\top.{name}\nend\n' for name, file in files.items()]
    modules = parse("module \\top\nend\n" + "".join(texts) + "module \\top.lone$4\nend\n")
    name_modules(modules, "top")
    assert [module.name.removeprefix("\\top") for module in modules] == [
        "", "_queue", "_fork", "_queue_2", "_queue_3", "_lone"
    ]  # fmt: skip


def test_elements_are_not_named_like_bits():
    assert dotted("wire width 2 \\x[1][0]\nassign \\y [3] \\x[1] [0]") == (
        "wire width 2 \\x.1.0\nassign \\y [3] \\x.1 [0]"
    )


def test_verilog_needs_no_backslash():
    class Elements(wiring.Component):
        i: In(data.ArrayLayout(data.StructLayout({"a": 4, "b": 2}), 3))
        o: Out(data.ArrayLayout(4, 3))

        def elaborate(self, platform):
            m = Module()
            for index in range(3):
                kept = Signal(4, name="kept")
                m.d.sync += kept.eq(self.i[index].a + self.i[index].b)
                m.d.comb += self.o[index].eq(kept)
            return m

    text = to_verilog(PRESETS["tiny"], top=Elements())
    assert "\\" not in text and "$" not in text.replace("$signed", "")
    registers = re.findall(r"^  reg \[3:0\] (\w+) = ", text, re.MULTILINE)
    assert sorted(registers) == ["kept", "kept_1", "kept_2"]
