from hdl.emit.blocks import merge_registers, wake_constants

TWO_BLOCKS = """module some(clk, rst, a, x);
  reg _start = 0;
  reg [3:0] x = 4'h2;
  reg [3:0] x_next;
  always @(posedge clk)
    x <= x_next;
  always @* begin
    if (_start) begin end
    x_next = x;
    (* full_case = 32'd1 *)
    if (a == 2'h1) begin
      x_next[1:0] = y;
    end else begin
      x_next = { x[2:0], y <= z };
    end
    if (rst) begin
      x_next = 4'h2;
    end
  end
endmodule
"""
ONE_BLOCK = """module some(clk, rst, a, x);
  reg _start = 0;
  reg [3:0] x = 4'h2;
  always @(posedge clk) begin
    (* full_case = 32'd1 *)
    if (a == 2'h1) begin
      x[1:0] <= y;
    end else begin
      x <= { x[2:0], y <= z };
    end
    if (rst) begin
      x <= 4'h2;
    end
  end
endmodule
"""


def test_a_register_is_one_block():
    assert merge_registers(TWO_BLOCKS) == ONE_BLOCK
    escaped = TWO_BLOCKS.replace("x_next", "\\x.next ")
    assert merge_registers(escaped) == ONE_BLOCK


def test_what_others_read_stays():
    """A reader elsewhere, a reader in the block, a second register, and what is not understood."""
    for old, new in (
        ("endmodule", "  assign b = x_next[0];\nendmodule"),
        ("if (rst)", "if (x_next[3])"),
        ("endmodule", "  always @(posedge clk)\n    w <= x_next;\nendmodule"),
        ("x_next = 4'h2;", "{ x_next[1:0], x_next[3:2] } = 4'h2;"),
        ("x_next = 4'h2;", "x_next = 4'h2;\n      v = 4'h2;"),
        ("    x <= x_next;", "    x <= x_next[3:0];"),
    ):
        text = TWO_BLOCKS.replace(old, new)
        assert text != TWO_BLOCKS and merge_registers(text) == text


def test_names_are_whole_names():
    text = TWO_BLOCKS.replace("endmodule", "  assign b = x_next_1 | a_x_next;\nendmodule")
    assert merge_registers(text) == ONE_BLOCK.replace("endmodule", "  assign b = x_next_1 | a_x_next;\nendmodule")


def test_constants_are_driven_at_time_0():
    """``always @*`` with nothing to wait for never runs."""
    ports, constant = "module some(clk, x);\n", "  always @*\n    x[1:0] = 2'h1;\n"
    awake = "  always @* begin\n    if (_start) begin end\n    x[1:0] = 2'h1;\n  end\n"
    start, rest = "  reg _start = 0;\n", "  always @*\n    x[2] = y;\nendmodule\n"
    assert wake_constants(ports + constant + rest, "_start") == ports + start + awake + rest
    assert wake_constants(ports + start + constant + rest, "_start") == ports + start + awake + rest
    assert wake_constants(ports + rest, "_start") == ports + rest
