"""Site of the documents and docstrings (``make docs``): Sphinx, with Markdown by MyST."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project = "SpAtten"
copyright = "the authors of SpAtten in Amaranth"
html_title = project
html_theme = "furo"
extensions = ["myst_parser", "sphinx.ext.apidoc", "sphinx.ext.autodoc"]
exclude_patterns = ["results"]

myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]  # JSON and Verilog with … in them

apidoc_modules = [
    {
        "path": "../hdl",
        "destination": "reference/hdl",
        "separate_modules": True,
        "module_first": True,
        "exclude_patterns": ["../hdl/spec/payloads/[a-z]*.py"],
    },
    {"path": "../spatten", "destination": "reference/spatten", "separate_modules": True, "module_first": True},
]
autodoc_default_options = {"members": True, "show-inheritance": False}
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autoclass_content = "class"


def list_members(app, what, name, obj, options, lines):
    """The section "Members" of a component becomes a list; ``name : In(payload)   what it is`` an item of it."""
    text = "\n".join(lines)
    found = re.search(r"^Members\n-+\n", text, re.MULTILINE)
    if not found:
        return
    items: list[str] = []
    rest = text[found.end() :].split("\n")
    while rest and rest[0].strip():
        line = rest.pop(0)
        port = re.match(r"([\w, …*]+) : (.*?)(?:\s{2,}(.*))?$", line)
        if port:
            items.append(f"* ``{port[1]} : {port[2]}`` {port[3] or ''}".rstrip())
        else:
            items.append(f"  {line.strip()}")
    lines[:] = [*text[: found.start()].split("\n"), "**Members**", "", *items, "", *rest]


def setup(app):
    app.connect("autodoc-process-docstring", list_members)
