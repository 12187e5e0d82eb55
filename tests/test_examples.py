"""Properties: fixed examples in ``make test``, at least 100 random ones in ``make test-long``."""

import re
import subprocess
import sys

import pytest

from tests.test_imports import ROOT

PROPERTY = """
from hypothesis import given, strategies as st
from tests.bench.examples import examples

@examples(7)
@given(st.integers())
def test_numbers(number):
    print("tried", number)
"""


@pytest.mark.parametrize(
    ("options", "count", "repeats"), [((), 7, True), (("--hypothesis-profile", "long"), 100, False)]
)
def test_profiles(options, count, repeats, tmp_path):
    (tmp_path / "test_numbers.py").write_text(PROPERTY)
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    runs = []
    for _ in range(2):
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", *options]
        found = subprocess.run(
            [*command, "--rootdir", str(tmp_path), str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300
        )
        assert found.returncode == 0, found.stdout
        runs.append(re.findall(r"tried (-?\d+)", found.stdout))
        assert len(runs[-1]) == count
    assert (runs[0] == runs[1]) is repeats


def test_every_property_takes_its_number_from_the_profile():
    """No test has settings of its own, which no profile could change."""
    for path in (ROOT / "tests").rglob("*.py"):
        if path.name not in ("conftest.py", "examples.py", "test_examples.py"):
            assert not re.search(r"max_examples|derandomize", path.read_text()), f"{path} has settings of its own"
