"""The SystemRDL source, read by the package systemrdl-compiler (of the extra ``registers``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hdl.spec.register_map import DATA_WIDTH, Choice, Field, Group, Kind, Register, RegisterMap

__all__ = ["SOURCE", "SourceError", "read_source"]

SOURCE = Path(__file__).parents[1] / "spec" / "registers.rdl"


class SourceError(ValueError):
    """The source has what the register bank does not build."""


def read_source(path: Path = SOURCE) -> RegisterMap:
    """The map of a source; :class:`SourceError` for what the bank cannot do, the compiler's own error for the rest."""
    from systemrdl import node as nodes
    from systemrdl.compiler import RDLCompiler

    compiler = RDLCompiler()
    compiler.compile_file(str(path))
    top = compiler.elaborate().top
    registers, groups = [], []
    for node in top.children(unroll=False):
        if isinstance(node, nodes.RegNode):
            registers.append(_register(node))
        elif isinstance(node, nodes.RegfileNode):
            groups.append(_group(node))
        else:
            raise SourceError(f"{node.get_path()} must be a register or a register file")
    return RegisterMap(registers=tuple(registers), groups=tuple(groups), name=top.inst_name, **_texts(top))


def _texts(node: Any) -> dict[str, str]:
    return {"title": node.get_property("name"), "text": _text(node)}


def _text(node: Any) -> str:
    return " ".join((node.get_property("desc") or "").split())


def _group(node: Any) -> Group:
    if not node.is_array or len(node.array_dimensions) != 1:
        raise SourceError(f"{node.get_path()} must be an array of one dimension")
    if not node.get_property("count_of"):
        raise SourceError(f"{node.get_path()} must have count_of")
    return Group(
        name=node.inst_name,
        offset=node.raw_address_offset,
        stride=node.array_stride,
        count=node.array_dimensions[0],
        count_of=node.get_property("count_of"),
        external=node.external,
        registers=tuple(_register(child) for child in node.children(unroll=False)),
        names=tuple((node.get_property("names") or "").split()),
        **_texts(node),
    )


def _register(node: Any) -> Register:
    if node.is_array or node.get_property("regwidth") != DATA_WIDTH:
        raise SourceError(f"{node.get_path()} must be one register of {DATA_WIDTH} bits")
    return Register(
        name=node.inst_name,
        offset=node.raw_address_offset,
        fields=tuple(_field(child) for child in node.fields()),
        strobe=any(child.get_property("swmod") for child in node.fields()),
        **_texts(node),
    )


def _field(node: Any) -> Field:
    encode = node.get_property("encode")
    choices = [
        Choice(name=member.name, value=member.value, text=member.rdl_desc or "")
        for member in (encode.members.values() if encode else ())
    ]
    return Field(
        name=node.inst_name,
        lsb=node.low,
        width=node.width,
        kind=_kind(node),
        reset=node.get_property("reset") or 0,
        bits_of=node.get_property("bits_of") or "",
        hardware_clears=node.get_property("hwclr"),
        choices=tuple(choices),
        text=_text(node),
    )


def _kind(node: Any) -> Kind:
    sw, hw = node.get_property("sw").name, node.get_property("hw").name
    on_write = node.get_property("onwrite")
    found = {
        ("rw", "r", None, False): Kind.STORED,
        ("r", "w", None, False): Kind.VALUE,
        ("r", "na", None, False): Kind.CONSTANT,
        ("w", "r", None, False): Kind.PULSE,
        ("rw", "rw", "woclr", True): Kind.STICKY,
    }
    hw = "r" if node.get_property("hwclr") and hw == "rw" else hw
    key = (sw, hw, on_write.name if on_write else None, node.get_property("intr"))
    if key not in found:
        raise SourceError(f"{node.get_path()} is of no kind that the bank builds: {key}")
    return found[key]
