"""Every relative link of the documents leads somewhere, and every page is linked."""

import posixpath
import re

import pytest

from tests.docs.documents import ROOT, Document, documents


@pytest.mark.parametrize("name", documents())
def test_paths_and_anchors_exist(name):
    document = documents()[name]
    for line, target in document.links:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
        assert (ROOT / found).exists(), f"{name}:{line} links to {target}: there is no {found}"
        if anchor:
            assert anchor in documents()[found].anchors, f"{name}:{line} links to {target}: no such heading"


def test_every_page_is_linked():
    targets = {
        posixpath.normpath(posixpath.join(posixpath.dirname(name), target.partition("#")[0]))
        for name, document in documents().items()
        for _, target in document.links
    }
    pages = {name for name in documents() if name.startswith("docs/")} - {"docs/index.md"}
    assert pages <= targets, f"no link leads to {sorted(pages - targets)}"


def test_anchors_are_those_of_github(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("# `spatten run`: a [page](x.md), K & V\n\n## Again\n\n## Again\n\n## Q×K\n")
    assert Document(path).anchors == {"spatten-run-a-page-k--v", "again", "again-1", "qk"}
