"""Tables of ports in the pages of blocks, and the sections "Members" of docstrings, are those of the components."""

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import pytest
from amaranth.lib import wiring

from hdl.spec.config import PRESETS
from tests.docs.documents import ROOT, documents

CONFIG = dataclasses.replace(PRESETS["tiny"], chain_rows=8)
PAGES = {
    "docs/append.md": ("hdl.append.append_unit", "AppendUnit"),
    "docs/axi.md": ("hdl.axi.read_manager", "ReadManager"),
    "docs/cascade_select.md": ("hdl.cascade.cascade_select", "CascadeSelect"),
    "docs/fetcher.md": ("hdl.fetch.fetcher", "Fetcher"),
    "docs/layer_walker.md": ("hdl.control.layer_walker", "LayerWalker"),
    "docs/page_allocator.md": ("hdl.control.regions.page_allocator", "PageAllocator"),
    "docs/prob_times_v.md": ("hdl.pv.prob_times_v", "ProbTimesV"),
    "docs/qk_multiply.md": ("hdl.qk.qk_multiply", "QKMultiply"),
    "docs/register_bank.md": ("hdl.axi.registers", "Registers"),
    "docs/softmax.md": ("hdl.softmax.softmax", "Softmax"),
}
"""Page -> module and component whose ports the page lists in a table that begins with "Port"."""


def make(component: type) -> wiring.Component | None:
    """The component with the preset ``tiny``, whose jobs can be chained; None if it takes other arguments."""
    parameters = list(inspect.signature(component).parameters.values())
    if [p.name for p in parameters if p.default is p.empty] == ["pages"]:
        return component(4)
    if [p.name for p in parameters if p.default is p.empty] != ["config"]:
        return None
    return component(CONFIG)


def components() -> list[tuple[str, type]]:
    found = []
    for path in sorted((ROOT / "hdl").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if Path(path).name == "__init__.py":
            continue
        module = importlib.import_module(name)
        for label, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, wiring.Component) and value.__module__ == name:
                found.append((f"{name}.{label}", value))
    return found


def members(component: type) -> set[str]:
    """Names in the section "Members" of the docstring."""
    found = re.search(r"^Members\n-+\n(.*?)(?:\n\n|\Z)", inspect.getdoc(component) or "", re.MULTILINE | re.DOTALL)
    assert found, f"{component.__name__} has no section Members"
    heads = [line.split("  ")[0] for line in found[1].split("\n") if not line.startswith(" ")]
    return {name for head in heads for group in re.findall(r"(\w+(?:, \w+)*) : ", head) for name in group.split(", ")}


COMPONENTS = components()


@pytest.mark.parametrize("component", [c for _, c in COMPONENTS], ids=[name for name, _ in COMPONENTS])
def test_members(component):
    made = make(component)
    if made is None:
        pytest.skip("takes more than a configuration")
    assert members(component) == set(made.signature.members)


@pytest.mark.parametrize("name", PAGES)
def test_tables_of_ports(name):
    module, component = PAGES[name]
    lines = documents()[name].lines
    begin = next(number for number, line in enumerate(lines) if re.match(r"\| Ports? ", line))
    rows = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(line.split("|")[1])
    listed = {port for row in rows for port in re.findall(r"`(\w+)`", row)}
    made = make(getattr(importlib.import_module(module), component))
    assert made is not None
    assert listed == set(made.signature.members)
