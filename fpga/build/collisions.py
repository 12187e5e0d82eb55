"""The RTL as a block RAM of an FPGA may behave: what is read while the same word is written is random.

Amaranth's memories give the old word then. Block RAMs do not promise it, and logic that makes it so costs more than the
memory; so no read of such a cycle may be used, and synthesis is told so (``-no-rw-check``). A simulation of this text
shows whether that holds.
"""

from __future__ import annotations

import re

__all__ = ["random_collisions"]

_MODULE = re.compile(r"^module .*?^endmodule$", re.MULTILINE | re.DOTALL)
_MEMORY = re.compile(r"^  reg (?:\[(\d+):0\] )?(\S+) \[\d+:0\];$", re.MULTILINE)


def random_collisions(text: str) -> str:
    """Verilog of :func:`hdl.verilog.to_verilog` with a random result of every synchronous read that meets a write."""
    return _MODULE.sub(lambda module: _of_module(module[0]), text)


def _of_module(text: str) -> str:
    for memory in _MEMORY.finditer(text):
        width, name = int(memory[1] or 0) + 1, re.escape(memory[2])
        item = rf"{name} ?\[(?P<address>.*?)\]"
        writes = re.finditer(rf"if \((?P<enable>.*)\)\n +{item}(\[[\d:]+\])? <= .*;$", text, re.MULTILINE)
        pairs = {(write["enable"], write["address"]) for write in writes}
        noise = ", ".join(["$urandom"] * -(-width // 32))

        def replaced(read: re.Match[str], pairs: set = pairs, noise: str = noise) -> str:
            meets = " || ".join(
                f"({enable}) && ({address}) == ({read['address']})" for enable, address in sorted(pairs)
            )
            return f"{read['target']} <= ({meets}) ? {{{noise}}} : {read['word']};" if pairs else read[0]

        text = re.sub(rf"(?P<target>\S+) <= (?P<word>{item});$", replaced, text, flags=re.MULTILINE)
    return text
