"""docs/verification.md: its table has every property that formal/ declares, and no other."""

import re

import pytest

from formal import table
from formal.blocks import PROOFS
from formal.seeds import planted


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
