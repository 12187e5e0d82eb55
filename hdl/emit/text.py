"""From RTLIL text to the text of each Verilog module."""

from __future__ import annotations

import re

from amaranth.back.verilog import _convert_rtlil_text  # what amaranth.back.verilog.convert does after RTLIL

from hdl.emit.blocks import merge_registers, wake_constants
from hdl.emit.merge import merge_equal
from hdl.emit.names import name_modules, name_signals
from hdl.emit.rtlil import Module, parse, render
from hdl.emit.slim import drop_aliases, drop_empty, share_logic

__all__ = ["plain_modules", "slim", "verilog_of"]

_START = re.compile(r"\\\$auto\$verilog_backend\.cc:\d+:dump_module\$\d+ ")
"""A register that lets ``always @*`` run at time 0; its name has the line of Yosys' source and a counter."""
_MODULE = re.compile(r"^(?:\(\*.*\*\)\n)*module (\S+?) ?\(.*?^endmodule\n", re.MULTILINE | re.DOTALL)


def slim(modules: list[Module]) -> list[Module]:
    """The modules without what says nothing, equal ones once; names stay as Amaranth gave them."""
    drop_empty(modules)
    for module in modules:
        drop_aliases(module)
        share_logic(module)
    return merge_equal(modules)


def plain_modules(text: str, name: str) -> list[Module]:
    """The modules of RTLIL text of Amaranth, slim and under plain names.

    The first is the top, called ``name``, whose ports keep their names.
    """
    modules = slim(parse(text))
    name_modules(modules, name)
    name_signals(modules)
    return modules


def verilog_of(modules: list[Module]) -> dict[str, str]:
    """Name and Verilog-2005 of every module, in the same order."""
    text = _convert_rtlil_text(render(modules), strip_internal_attrs=True)
    found = {match[1]: match[0] for match in _MODULE.finditer(text)}
    parts = {}
    for module in modules:
        name = module.name.removeprefix("\\")
        unused = "_start"
        while re.search(rf"\b{unused}\b", found[name]):
            unused = f"_{unused}"
        verilog = wake_constants(_START.sub(unused, found[name]), unused)
        parts[name] = f"{_comment(module)}\n{merge_registers(verilog)}"
    return parts


def _comment(module: Module) -> str:
    """What describes the module, and where in the hierarchy of instances it stands."""
    where = module.path if module.copies == 1 else f"{module.copies} instances, the first of them {module.path}"
    return f"// {module.source}: {where}" if module.source else f"// {where}"
