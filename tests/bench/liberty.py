"""A cell library for tests: six cells with round numbers, of no process."""

from __future__ import annotations

from pathlib import Path

__all__ = ["AREAS", "tiny_liberty"]

AREAS = {"INV": 1.0, "BUF": 2.0, "NAND2": 2.0, "NOR2": 2.0, "XOR2": 4.0, "DFF": 10.0}
_FUNCTIONS = {"INV": "!A", "BUF": "A", "NAND2": "!(A*B)", "NOR2": "!(A+B)", "XOR2": "(A*!B)+(!A*B)"}
_SENSE = {"INV": "negative_unate", "BUF": "positive_unate", "XOR2": "non_unate"}


def _tables(slow: float) -> str:
    text = ""
    for name in ("cell_rise", "cell_fall", "rise_transition", "fall_transition"):
        rows = ", ".join(f'"{slow * (1 + i):.3f}, {slow * (2 + i):.3f}"' for i in (0, 1))
        text += f"        {name} (t) {{ values ({rows}); }}\n"
    return text


def _gate(name: str) -> str:
    pins = "AB" if "B" in _FUNCTIONS[name] else "A"
    inputs = "".join(f'    pin ("{pin}") {{ direction : input; capacitance : 1.0; }}\n' for pin in pins)
    arcs = "".join(
        f'      timing () {{ related_pin : "{pin}"; timing_sense : {_SENSE.get(name, "negative_unate")};\n'
        f"{_tables(0.02)}      }}\n"
        for pin in pins
    )
    out = f'    pin ("Y") {{ direction : output; max_capacitance : 50; function : "{_FUNCTIONS[name]}";\n{arcs}    }}\n'
    return f"  cell ({name}) {{\n    area : {AREAS[name]};\n{inputs}{out}  }}\n"


_THRESHOLDS = """\
  input_threshold_pct_rise : 50; input_threshold_pct_fall : 50; output_threshold_pct_rise : 50;
  output_threshold_pct_fall : 50; slew_lower_threshold_pct_rise : 20; slew_lower_threshold_pct_fall : 20;
  slew_upper_threshold_pct_rise : 80; slew_upper_threshold_pct_fall : 80;
"""
_FLOP = f"""  cell (DFF) {{
    area : {AREAS["DFF"]};
    ff (IQ, IQN) {{ clocked_on : "CK"; next_state : "D"; }}
    pin ("CK") {{ direction : input; clock : true; capacitance : 1.0; }}
    pin ("D") {{ direction : input; capacitance : 1.0;
      timing () {{ related_pin : "CK"; timing_type : setup_rising;
        rise_constraint (scalar) {{ values ("0.05"); }} fall_constraint (scalar) {{ values ("0.05"); }} }}
    }}
    pin ("Q") {{ direction : output; max_capacitance : 50; function : "IQ";
      timing () {{ related_pin : "CK"; timing_type : rising_edge;
{_tables(0.05)}      }}
    }}
  }}
"""


def tiny_liberty(path: Path) -> Path:
    """Write the library to a file."""
    head = (
        "library (six_cells) {\n  delay_model : table_lookup;\n"
        '  time_unit : "1ns"; capacitive_load_unit (1, ff); voltage_unit : "1V"; current_unit : "1mA";\n'
        f"{_THRESHOLDS}"
        "  lu_table_template (t) { variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;\n"
        '    index_1 ("0.01, 0.5"); index_2 ("1, 50"); }\n'
    )
    path.write_text(head + "".join(map(_gate, _FUNCTIONS)) + _FLOP + "}\n")
    return path
