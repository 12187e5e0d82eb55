"""Site of the documents and docstrings (``make docs``): Sphinx, with Markdown by MyST."""

import inspect
import re
import sys
from pathlib import Path

from amaranth.lib import wiring
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

try:
    import wavedrom
except ModuleNotFoundError:  # as text, then; ``make docs`` installs it
    wavedrom = None

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project = "SpAtten"
copyright = "the authors of SpAtten in Amaranth"
html_title = project
html_theme = "furo"
html_static_path = ["site"]
html_css_files = ["wide.css"]
extensions = ["myst_parser", "sphinx.ext.apidoc", "sphinx.ext.autodoc"]
exclude_patterns = ["results"]

myst_heading_anchors = 4
myst_fence_as_directive = ["wavedrom"]
suppress_warnings = ["misc.highlighting_failure"]  # JSON and Verilog with … in them

_PAGES = {"separate_modules": True, "module_first": True, "automodule_options": {"members"}}
apidoc_modules = [
    # The package of the payloads has them all; its modules would say them twice.
    {
        "path": "../hdl",
        "destination": "reference/hdl",
        "exclude_patterns": ["../hdl/spec/payloads/[a-z]*.py"],
        **_PAGES,
    },
    {"path": "../spatten", "destination": "reference/spatten", **_PAGES},
]
autodoc_default_options = {"members": True, "exclude-members": "elaborate"}
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autoclass_content = "class"


class TimingDiagram(SphinxDirective):
    """WaveJSON, drawn as SVG."""

    has_content = True

    def run(self):
        text = "\n".join(self.content)
        if wavedrom is None:
            return [nodes.literal_block(text, text)]
        picture = wavedrom.render(text).tostring()
        return [nodes.raw("", f'<div class="timing-diagram">{picture}</div>', format="html")]


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


def signature_of_init(app, what, name, obj, options, signature, return_annotation):
    """Amaranth's metaclass hides the arguments of components."""
    if what == "class" and issubclass(obj, wiring.Component):
        init = inspect.signature(obj.__init__)
        return str(init.replace(parameters=list(init.parameters.values())[1:])), return_annotation
    return None


def setup(app):
    app.add_directive("wavedrom", TimingDiagram)
    app.connect("autodoc-process-signature", signature_of_init)
    app.connect("autodoc-process-docstring", list_members)
