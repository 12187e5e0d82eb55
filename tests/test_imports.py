"""Who may import whom: every import of the project, those inside functions too, against one table."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = ("hdl", "golden", "sim", "fpga", "spatten")
"""A package imports those to its left only."""

ALL = (*PACKAGES, "formal", "mutation", "attack")
"""With proofs, mutants and campaigns, which no wheel holds."""

ROOMS = {
    "hdl": (
        ("spec",),
        ("stream", "registers"),
        ("fetch", "softmax", "topk"),
        ("qk", "pv", "pruning"),
        ("cascade",),
        ("control",),
        ("axi", "command"),
        ("append", "result"),
        ("answer",),
        ("system",),
        ("spatten", "emit"),
        ("spatten_axi",),
        ("pins",),
        ("verilog",),
    ),
    "golden": (("datapath",), ("layers",), ("host",), ("models",)),
    "sim": (
        ("common",),
        ("transport", "evaluate", "energy", "asic"),
        ("engine",),
        ("run", "model"),
        ("chat", "workload"),
        ("rivals",),
        ("reproduce", "bench"),
    ),
    "fpga": (("spec",), ("link",), ("memory", "host"), ("board",), ("build",)),
    "spatten": (("engines",), ("commands",), ("cli",), ("__main__",)),
    "formal": (
        ("methods", "inside", "seeds"),
        ("harness", "engines"),
        ("proof",),
        ("blocks", "runner"),
        ("table", "campaign"),
        ("__main__",),
    ),
    "mutation": (
        ("switches", "targets"),
        ("mutants",),
        ("equivalent",),
        ("record",),
        ("trial", "table"),
        ("__main__",),
    ),
    "attack": (
        ("memory", "refusals", "columns"),
        ("commands",),
        ("shapes", "wrong", "oracle"),
        ("draw_layers",),
        ("draw",),
        ("machine", "models", "judge"),
        ("campaigns", "checker", "tally"),
        ("__main__",),
    ),
}
"""Folders (and modules of a package's own folder), from the bottom up; those of a tuple do not import each other."""

ONLY_SPEC = ("golden",)
"""Packages that import nothing of ``hdl`` but ``hdl.spec``: the golden model is not made of the hardware."""


def modules() -> dict[str, Path]:
    """Name -> file of every module of the project."""
    paths = sorted(path for package in ALL for path in (ROOT / package).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports() -> dict[str, set[str]]:
    """Module -> modules of the project that it imports anywhere."""
    known = modules()
    found = {}
    for name, path in known.items():
        targets = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name} imports relative to itself"
                targets |= {
                    full if (full := f"{node.module}.{alias.name}") in known else str(node.module)
                    for alias in node.names
                }
            elif isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
        found[name] = {target for target in targets if target.split(".")[0] in ALL}
    return found


IMPORTS = imports()


def level(module: str) -> int | None:
    """Height of a module's room in its package; None: the package's ``__init__``, which may be anywhere."""
    package, _, rest = module.partition(".")
    if not rest:
        return None
    room = rest.split(".")[0]
    heights = [height for height, names in enumerate(ROOMS[package]) if room in names]
    assert heights, f"{module} lies in no room of the table"
    return heights[0]


@pytest.mark.parametrize("package", ALL)
def test_packages_import_to_the_left(package):
    allowed = ALL[: ALL.index(package) + 1]
    for module, targets in IMPORTS.items():
        if module.split(".")[0] == package:
            wrong = sorted(target for target in targets if target.split(".")[0] not in allowed)
            assert not wrong, f"{module} imports {wrong}"


@pytest.mark.parametrize("package", ONLY_SPEC)
def test_golden_knows_of_the_hardware_only_its_specification(package):
    for module, targets in IMPORTS.items():
        if module.split(".")[0] == package:
            wrong = sorted(t for t in targets if t.startswith("hdl") and not t.startswith("hdl.spec"))
            assert not wrong, f"{module} imports {wrong}"


@pytest.mark.parametrize("package", ALL)
def test_rooms_import_downwards(package):
    for module, targets in IMPORTS.items():
        height = level(module) if module.split(".")[0] == package else None
        if height is None:
            continue
        for target in targets:
            below = level(target) if target.split(".")[0] == package else None
            same_room = module.split(".")[1] == [*target.split("."), ""][1]
            assert below is None or below < height or same_room, f"{module} imports {target}"


def test_no_circles():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"circle: {' -> '.join((*path[path.index(module) :], module))}"
        if module not in done:
            for target in sorted(IMPORTS.get(module, ())):
                visit(target, (*path, module))
            done.add(module)

    for module in IMPORTS:
        visit(module, ())


def test_every_import_is_of_a_module_that_exists():
    for module, targets in IMPORTS.items():
        wrong = sorted(target for target in targets if target not in IMPORTS)
        assert not wrong, f"{module} imports {wrong}"
