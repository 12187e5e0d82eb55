"""The C driver: it compiles without a warning as C and C++, and does on a mock device what its comments say."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hdl.spec.register_map import CORE_COUNTERS
from tests.docs.documents import ROOT, Document

DRIVER = ROOT / "driver"
HERE = Path(__file__).parent
HEADERS = sorted(path.name for path in DRIVER.glob("*.h"))
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Wcast-qual")
SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
C99, C11, CPP = ("gcc", "-x", "c", "-std=c99"), ("gcc", "-x", "c", "-std=c11"), ("g++", "-x", "c++", "-std=c++17")
STANDARDS = {"c99": C99, "c11": C11, "c++17": CPP}
PROGRAMS = {
    "c99": (*C99, *SANITIZE),
    "c99 byte by byte": (*C99, *SANITIZE, "-DSPATTEN_LITTLE_ENDIAN=0"),
    "c++17": (*CPP, *SANITIZE),
    "c11 optimized": (*C11, "-O2"),
}


def compiled(command: tuple[str, ...], *arguments: str | Path) -> subprocess.CompletedProcess:
    """The compiler's result, with all warnings as errors."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    folders = ("-I", str(DRIVER), "-I", str(HERE))
    return subprocess.run([*command, *WARNINGS, *folders, *map(str, arguments)], capture_output=True, text=True)


def output(command: tuple[str, ...], folder: Path, *sources: Path, options: tuple[str, ...] = ()) -> str:
    """What a program of these sources prints; it must compile, and end with 0."""
    result = compiled((*command, *options), *sources, "-o", folder / "program")
    assert result.returncode == 0, result.stderr
    process = subprocess.run([str(folder / "program")], capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-4000:]
    return process.stdout


@pytest.mark.parametrize("name", PROGRAMS)
def test_on_the_mock_device(name, tmp_path):
    lines = output(PROGRAMS[name], tmp_path, HERE / "mock.c", HERE / "test_driver.c").splitlines()
    source = (HERE / "test_driver.c").read_text()
    tests = re.findall(r"^static void test_(\w+)\(void\)$", source, re.MULTILINE)
    modes = [(memory, by) for by in ("register", "phase") for memory in ("caches", "coherent")]
    expected = {f"ok {test}, {memory}, {by}" for test in tests for memory, by in modes}
    assert len(tests) > 25 and set(lines) == expected and len(lines) == len(expected)


@pytest.mark.parametrize("standard", STANDARDS)
@pytest.mark.parametrize("header", HEADERS)
def test_headers_stand_alone(header, standard, tmp_path):
    """Each can be included first, and twice."""
    (tmp_path / "test.c").write_text(f'#include "{header}"\n#include "{header}"\nint main(void) {{ return 0; }}\n')
    result = compiled(STANDARDS[standard], "-fsyntax-only", tmp_path / "test.c")
    assert result.returncode == 0, result.stderr


def test_headers_include_no_more_than_they_tell():
    found = {name for header in HEADERS for name in re.findall(r"#include <(.+)>", (DRIVER / header).read_text())}
    assert found == {"stdbool.h", "stddef.h", "stdint.h", "string.h"}


@pytest.mark.parametrize("language", ["c99", "c++17"])
def test_example(language, tmp_path):
    """The example of the page, as it stands there."""
    (block,) = (block for block in Document(ROOT / "docs/driver.md").blocks if block.language == "c")
    (tmp_path / "example.h").write_text(block.text)
    command = (*STANDARDS[language], *SANITIZE, "-I", str(tmp_path))
    printed = output(command, tmp_path, HERE / "mock.c", HERE / "run_example.c")
    assert printed == "command 7: done\nfirst output of head 1: 10\n"


def test_fence_of_the_caller(tmp_path):
    """Without hooks, both barriers are SPATTEN_FENCE, which may be defined before the include."""
    (tmp_path / "test.c").write_text(
        """
        #include <stdio.h>
        static int fences;
        #define SPATTEN_FENCE() ((void)++fences)
        #include "spatten.h"
        int main(void)
        {
            struct spatten_device device;
            memset(&device, 0, sizeof device);
            spatten_write_barrier(&device);
            spatten_read_barrier(&device);
            printf("%d", fences);
            return 0;
        }
        """
    )
    assert output(C99, tmp_path, tmp_path / "test.c") == "2"


def test_counters_of_channels_follow_those_of_the_core():
    text = (DRIVER / "spatten_device.h").read_text()
    assert re.findall(r"#define SPATTEN_CORE_COUNTERS (\d+)u", text) == [str(CORE_COUNTERS)]


def test_every_error_has_a_name():
    text = (DRIVER / "spatten_access.h").read_text()
    declared = re.findall(r"^    SPATTEN_(?:ERROR_)?(\w+) = (\d+),? +/\*|^    SPATTEN_(OK) = (0),", text, re.MULTILINE)
    names = [first or ok for first, _, ok, _ in declared]
    assert re.findall(r'return "(\w+)";', text) == [*names, "unknown"]
    assert [int(number or zero) for _, number, _, zero in declared] == list(range(len(names)))
