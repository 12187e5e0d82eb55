"""Blocks of Verilog that every simulator runs, and each register in one of them, with what it takes next.

Yosys writes a register as two blocks: ``always @*`` computes ``x_next``, ``always @(posedge clk)`` stores it. Where
nobody else reads ``x_next`` one clocked block of non-blocking assignments is the same: the last assignment of a path
wins in both, and what the block reads are values from before the edge in both. It reads better, and simulators need
not compute all of what registers take next again whenever an input changes.

Yosys drives a constant part of a variable by ``always @*`` without anything to wait for, which never runs in Verilog.
"""

from __future__ import annotations

import re
from collections import Counter

__all__ = ["merge_registers", "wake_constants"]

_NAME = r"(?:\\\S+ |[A-Za-z_][\w$]*)"
_STORE = re.compile(rf"^  always @\(posedge (\w+)\)\n    ({_NAME}) <= ({_NAME});\n", re.MULTILINE)
_COMPUTE = re.compile(r"^  always @\* begin\n    if \(\w+\) begin end\n(.*?)^  end\n", re.MULTILINE | re.DOTALL)
_TARGET = re.compile(rf"^( +)({_NAME})((?:\[[^\]\n]*\])?) = ", re.MULTILINE)
_ATTRIBUTE = re.compile(r"\(\*[^\n]*?\*\)")
_ASSIGNMENT = re.compile(r"[^<>=!]=[^=]")
_TOKEN = re.compile(_NAME)
_CONSTANT = re.compile(rf"^  always @\*\n(    {_NAME}(?:\[[^\]\n]*\])? = \d+'\w+;\n)", re.MULTILINE)
_HEAD = re.compile(r"^module [^;]*;\n", re.MULTILINE)
_DECLARATION = re.compile(rf"^  reg (?:signed )?(?:\[[^\]\n]*\] )?({_NAME});\n", re.MULTILINE)


def wake_constants(text: str, start: str) -> str:
    """Verilog of a module whose constants are driven at time 0, as all that ``start`` wakes.

    start: name of the register by which Yosys wakes its blocks; it is declared here if nobody did.
    """
    text, count = _CONSTANT.subn(rf"  always @* begin\n    if ({start}) begin end\n\1  end\n", text)
    if count and f"  reg {start} = 0;\n" not in text:
        text = _HEAD.sub(lambda match: f"{match[0]}  reg {start} = 0;\n", text, count=1)
    return text


def merge_registers(text: str) -> str:
    """Verilog of a module as Yosys writes it, with the registers merged of which nobody else reads what they take.

    What the rewriting does not know (an assignment to a concatenation, a part of a register) stays as it is.
    """
    stores = {match[3]: (match[1], match[2]) for match in _STORE.finditer(text)}
    uses = Counter(_TOKEN.findall(text))
    merged: set[str] = set()

    def clocked(match: re.Match[str]) -> str:
        body = match[1]
        targets = [target[2] for target in _TARGET.finditer(body)]
        name = targets[0] if targets else ""
        # Nothing but its declaration, its assignments and the store names it.
        alone = name in stores and set(targets) == {name} and uses[name] == len(targets) + 2
        if not alone or len(_ASSIGNMENT.findall(_ATTRIBUTE.sub("", body))) != len(targets):
            return match[0]
        merged.add(name)
        clock, register = stores[name]
        body = _TARGET.sub(lambda target: f"{target[1]}{register}{target[3]} <= ", body)
        body = body.removeprefix(f"    {register} <= {register};\n")
        return f"  always @(posedge {clock}) begin\n{body}  end\n"

    text = _COMPUTE.sub(clocked, text)
    text = _STORE.sub(lambda match: "" if match[3] in merged else match[0], text)
    return _DECLARATION.sub(lambda match: "" if match[1] in merged else match[0], text)
