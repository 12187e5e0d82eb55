"""docs/verification.md: its tables have what formal/ declares, and modules that are there."""

import re

import pytest

from formal import table
from formal.blocks import PROOFS
from formal.seeds import planted
from mutation.targets import targets


def tabled():
    """Rows of the table without the seconds."""
    text = table.DOCUMENT.read_text(encoding="utf-8")
    (found,) = re.findall("<!-- proofs -->\n(.*?)<!-- end of proofs -->", text, re.DOTALL)
    lines = [line.split(" | ") for line in found.splitlines()[2:]]
    return [tuple(cell.strip("| ") for cell in cells[:5]) for cells in lines]


@pytest.fixture(scope="module")
def declared():
    """Proof -> its claims, as the harness makes them."""
    return {proof: proof.build() for proof in PROOFS}


def test_the_table_has_what_is_declared(declared):
    rows = [
        (proof.block, proof.configuration, claim, proof.method.engine, proof.method.extent)
        for proof, harness in declared.items()
        for claim in harness.claims
    ]
    assert tabled() == rows


def test_each_proof_has_claims_a_cover_and_a_bug(declared):
    for proof, harness in declared.items():
        assert harness.claims and harness.covers and proof.bugs, proof.name
    names = [proof.name for proof in PROOFS]
    assert len(set(names)) == len(names)


def test_each_bug_stands_in_the_source_once():
    for bug in {bug for proof in PROOFS for bug in proof.bugs}:
        with planted(bug):
            pass


def test_the_table_of_mutants_adds_up():
    text = table.DOCUMENT.read_text(encoding="utf-8")
    (found,) = re.findall("<!-- mutants -->\n(.*?)<!-- end of mutants -->", text, re.DOTALL)
    rows = [[cell.strip("`| ") for cell in line.split(" | ")] for line in found.splitlines()[2:]]
    *modules, total = [(name, [int(number.replace(",", "")) for number in numbers]) for name, *numbers in rows]
    known = {str(path) for path, _ in targets()}
    assert {name for name, _ in modules} <= known and len(modules) == len({name for name, _ in modules})
    for _, (mutants, tried, noticed, survived) in modules:
        assert mutants >= tried == noticed + survived
    assert total[1] == [sum(column) for column in zip(*(numbers for _, numbers in modules), strict=True)]
