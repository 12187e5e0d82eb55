"""Each rewriting on modules of a few lines."""

import pytest

from hdl.emit.rtlil import parse, render
from hdl.emit.slim import drop_aliases, drop_empty, share_logic


def module(text: str):
    (found,) = parse(f"attribute \\top 1\nmodule \\m\n{text}\nend\n")
    return found


def lines(found) -> list[str]:
    return render([found]).splitlines()


CHAIN = """
  wire width 4 input 0  \\i
  wire width 4 output 1  \\o
  wire width 4 \\read
  wire width 4 \\alias
  wire width 2 \\alias.low
  wire width 4 $1
  wire width 4 $2
  attribute \\init 4'0110
  wire width 4 \\follows
  attribute \\init 4'0110
  wire width 4 \\register
  cell $not $3
    parameter \\A_SIGNED 0
    connect \\A \\i [3:0]
    connect \\Y $1
  end
  cell $not $4
    parameter \\A_SIGNED 0
    connect \\A $1 [3:0]
    connect \\Y $2
  end
  cell $dff $5
    connect \\D \\read [3:0]
    connect \\CLK \\i [0]
    connect \\Q \\register
  end
  connect \\read \\i [3:0]
  connect \\alias $2 [3:0]
  connect \\alias.low \\alias [1:0]
  connect \\follows \\register [3:0]
  connect \\o \\follows [3:0]
"""


def test_aliases_that_nothing_reads_go_with_what_only_they_read():
    found = module(CHAIN)
    drop_aliases(found)
    assert list(found.wires) == ["\\i", "\\o", "\\read", "\\follows", "\\register"]
    assert found.connects == [
        ("\\read", "\\i [3:0]"),
        ("\\follows", "\\register [3:0]"),
        ("\\o", "\\follows [3:0]"),
    ]
    assert [item.name for item in found.items] == ["$5"]


def test_power_on_value_stays_with_the_register():
    found = module(CHAIN)
    drop_aliases(found)
    assert found.wires["\\register"].attributes == ("attribute \\init 4'0110",)
    assert found.wires["\\follows"].attributes == ()


def test_named_results_of_logic_and_registers_stay():
    found = module(CHAIN.replace("$1", "\\named").replace("connect \\o \\follows [3:0]", ""))
    drop_aliases(found)
    assert "\\named" in found.wires and "\\register" in found.wires
    assert "$2" not in found.wires and "\\follows" not in found.wires


def test_part_of_a_wire_is_no_alias():
    found = module("wire width 2 \\x\nwire width 1 input 0  \\i\nconnect \\x [1] \\i [0]")
    drop_aliases(found)
    assert found.connects == [("\\x [1]", "\\i [0]")] and "\\x" in found.wires


EMPTY = """
  memory width 0 size 3 \\memory
  wire width 0 \\nothing
  wire width 0 output 0  \\port
  wire width 1 input 1  \\clk
  wire width 4 \\x
  cell $memrd_v2 $1
    parameter \\MEMID "\\\\memory"
    parameter \\WIDTH 0
    connect \\DATA \\nothing
  end
  cell $eq $2
    parameter \\B_WIDTH 0
    connect \\A \\x [3:0]
    connect \\B {  }
    connect \\Y \\x
  end
  process $3
    assign \\nothing {  }
    switch \\clk [0]
      case 1'1
        assign \\x [3:0] 4'0000
        assign \\nothing {  }
    end
  end
  cell \\child \\child
    connect \\port {  }
    connect \\clk \\clk [0]
  end
  connect \\port \\nothing
"""


def test_no_bits():
    parent, child = parse(f"module \\m\n{EMPTY}end\nmodule \\child\nwire width 0 output 0  \\port\nend\n")
    drop_empty([parent, child])
    assert list(parent.wires) == ["\\clk", "\\x"] and child.wires == {}
    assert parent.connects == []
    assert [item.name for item in parent.items] == ["$2", "$3", "\\child"]
    text = render([parent, child])
    assert "connect \\B {  }" in text, "an operand is the constant 0"
    assert "nothing" not in text and "\\port" not in text
    assert "assign \\x [3:0] 4'0000" in text


SAME = """
  wire width 1 input 0  \\a
  wire width 1 input 1  \\b
  wire width 1 output 2  \\o
  wire width 1 $1
  wire width 1 $2
  wire width 1 \\named
  wire width 1 $3
  wire width 1 $4
  wire width 1 $5
  cell $and $6
    connect \\A \\a [0]
    connect \\B \\b [0]
    connect \\Y $1
  end
  cell $and $7
    connect \\A \\a [0]
    connect \\B \\b [0]
    connect \\Y \\named
  end
  cell $and $8
    connect \\A \\a [0]
    connect \\B {kind}
    connect \\Y $2
  end
  cell $not $9
    connect \\A $1 [0]
    connect \\Y $3
  end
  cell $not $10
    connect \\A $2 [0]
    connect \\Y $4
  end
  process $11
    assign $5 $4 [0]
    switch $2 [0]
      case 1'1
        assign $5 $3 [0]
    end
  end
  connect \\o $5 [0]
"""


def test_equal_logic_is_there_once():
    found = module(SAME.replace("{kind}", "\\b [0]"))
    share_logic(found)
    assert [item.name for item in found.items] == ["$7", "$9", "$11"], "what follows is equal then, too"
    text = lines(found)
    assert "connect \\A \\named [0]" in text and "switch \\named [0]" in text and text.count("assign $5 $3 [0]") == 2
    assert not {"$1", "$2", "$4"} & set(found.wires)


@pytest.mark.parametrize("kind", ["1'1", "\\a [0]"])
def test_logic_of_other_operands_stays(kind):
    found = module(SAME.replace("{kind}", kind))
    share_logic(found)
    assert [item.name for item in found.items] == ["$7", "$8", "$9", "$10", "$11"]


def test_free_values_are_not_shared():
    cells = "".join(f"cell $anyseq ${n}\nconnect \\Y ${n + 2}\nend\n" for n in (1, 2))
    found = module(f"wire width 1 $3\nwire width 1 $4\n{cells}")
    share_logic(found)
    assert len(found.items) == 2
