"""The public interface: what it promises, and the examples of its page."""

import ast
import doctest
import re
import shutil
import subprocess
import sys

import pytest

import spatten
from hdl import verilog
from hdl.spec.version import VERSION
from tests.bench.standin import StandIn
from tests.bench.tiny_models import save_tiny_bert, save_tiny_causal
from tests.test_imports import ROOT

PAGE = ROOT / "docs" / "api.md"


def python(code, **options):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300, **options
    ).stdout


def test_every_name_can_be_imported():
    for name in spatten.__all__:
        assert getattr(spatten, name) is not None, name
    assert len(set(spatten.__all__)) == len(spatten.__all__) and set(spatten.__all__) <= set(dir(spatten))
    assert spatten.presets is spatten.PRESETS and spatten.__version__ == VERSION


def test_type_checkers_see_the_same_names():
    tree = ast.parse((ROOT / "spatten" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == spatten._HOME and set(seen) == set(spatten.__all__)


def test_names_are_those_of_the_module_that_defines_them():
    for name, (module, attribute) in spatten._HOME.items():
        assert getattr(sys.modules[module], attribute) is getattr(spatten, name)


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'spatten' has no attribute 'Nothing'"):
        _ = spatten.Nothing
    with pytest.raises(ImportError):
        exec("from spatten import Nothing")


@pytest.mark.parametrize(
    "code",
    ["import spatten", "from spatten import Config, PRESETS", "from spatten.cli import main; main(['--help'])"],
)
def test_what_is_light_stays_light(code):
    heavy = "torch", "amaranth", "transformers", "numpy", "matplotlib", "dask"
    loaded = python(f"{code}\nimport sys; print('loaded', *(name for name in {heavy} if name in sys.modules))")
    assert loaded.splitlines()[-1] == "loaded"


def test_engines_of_the_face_have_the_board():
    assert spatten.engine_names() == ("verilator", "pysim", "axi", "fpga")
    with pytest.raises(ValueError, match="engine must be one of verilator, pysim, axi, fpga, not 'abacus'"):
        spatten.make_engine("abacus", spatten.PRESETS["tiny"])


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with small random models under the names that the examples use, and a small configuration."""
    folder = tmp_path_factory.mktemp("api")
    for name, save in (("minilm", save_tiny_bert), ("smollm2", save_tiny_causal)):
        (folder / name).mkdir()
        save(folder / name)
    shutil.copy(ROOT / "tests" / "bench" / "small.json", folder)
    return folder


def run_examples(text, name):
    """Run a text's examples; lines that explain a failure."""
    lines = []
    example = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(example, out=lines.append)
    return "".join(lines), len(example.examples)


def test_examples_of_the_page(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    # Conversion of the real one takes long, and is tested elsewhere (tests/hdl/test_verilog.py).
    monkeypatch.setattr(spatten, "to_verilog", lambda config: verilog.to_verilog(config, top=StandIn(config)))
    blocks = re.findall(r"```pycon\n(.*?)```", PAGE.read_text(), re.DOTALL)
    failures, count = run_examples("\n".join(blocks), "docs/api.md")
    assert not failures, failures
    assert count > 40 and (workplace / "page.html").is_file()


def test_examples_of_the_package():
    failures, count = run_examples(spatten.__doc__, "spatten")
    assert not failures and count == 3


def test_every_name_is_on_the_page():
    words = set(re.findall(r"\w+", PAGE.read_text()))
    missing = set(spatten.__all__) - words
    assert not missing, f"names without a word in docs/api.md: {sorted(missing)}"
