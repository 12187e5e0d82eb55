import subprocess

import pytest

from sim.engine.building import BuildError, checked, runtime_library


def library(folder, cache, parts, names, made):
    """Of a model whose makefile names these files of Verilator's library."""
    (folder / "Vspatten_classes.mk").write_text(
        f"VM_FAST = \\\n\tmodel \\\n\nVM_GLOBAL_FAST = \\\n\t{names} \\\n\nX = 1\n"
    )

    def make(target):
        made.append(names)
        (folder / target).write_text(names)

    return runtime_library(folder, cache, parts, make)


def test_the_library_is_compiled_once_for_its_files_and_options(tmp_path):
    made = []
    first = library(tmp_path, tmp_path / "cache", ["-O1"], "verilated", made)
    assert library(tmp_path, tmp_path / "cache", ["-O1"], "verilated", made) == first and made == ["verilated"]
    traced = library(tmp_path, tmp_path / "cache", ["-O1"], "verilated_vcd_c", made)
    other = library(tmp_path, tmp_path / "cache", ["-O2"], "verilated", made)
    assert len({first, traced, other}) == len(made) == 3
    assert first.read_text() == other.read_text() == "verilated" and traced.read_text() == "verilated_vcd_c"
    assert sorted((tmp_path / "cache").iterdir()) == sorted([first, traced, other])


def test_last_lines_of_what_failed(tmp_path):
    failed = subprocess.CompletedProcess([], 3, stdout="".join(f"line {number}\n" for number in range(20)))
    with pytest.raises(BuildError, match=r"(?s)^make failed with exit status 3; .*:\nline 8\n.*line 19$"):
        checked(failed, "make", tmp_path / "log")
    assert (tmp_path / "log").read_text() == failed.stdout
