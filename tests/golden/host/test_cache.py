"""The folder of caches, and digests that change with every source."""

from pathlib import Path

import platformdirs
import pytest

from golden.host import cache
from golden.host.cache import cache_folder, source_digest


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name, text in {"a/__init__.py": "", "a/one.py": "1", "a/b/two.py": "2", "c/three.py": "3"}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(cache, "_ROOT", tmp_path)
    source_digest.cache_clear()
    yield tmp_path
    source_digest.cache_clear()


def digest(*packages):
    """As a new process has it."""
    source_digest.cache_clear()
    return source_digest(*packages)


def edit(root):
    (root / "a/one.py").write_text("11")


def edit_in_a_sub_folder(root):
    (root / "a/b/two.py").write_text("22")


def add(root):
    (root / "a/b/more.py").write_text("")


def rename(root):
    (root / "a/one.py").rename(root / "a/uno.py")


def move(root):
    (root / "a/one.py").rename(root / "a/b/one.py")


def swap(root):
    (root / "a/one.py").write_text("2")
    (root / "a/b/two.py").write_text("1")


def delete(root):
    (root / "a/__init__.py").unlink()


@pytest.mark.parametrize("change", [edit, edit_in_a_sub_folder, add, rename, move, swap, delete])
def test_every_change_of_a_package_changes_its_digest(root, change):
    before = digest("a"), digest("a", "c"), digest("c"), digest("a/b")
    change(root)
    after = digest("a"), digest("a", "c"), digest("c"), digest("a/b")
    assert before[0] != after[0] and before[1] != after[1] and before[2] == after[2]
    assert (before[3] != after[3]) == (change in (edit_in_a_sub_folder, add, move, swap))


def test_only_sources_count(root):
    before = digest("a")
    (root / "a/notes.txt").write_text("not a source")
    assert digest("a") == before
    assert len({digest("a"), digest("c"), digest("a", "c"), digest("a/b")}) == 4


def test_a_process_has_one_digest(root):
    before = source_digest("a")
    edit(root)
    assert source_digest("a") == before


def test_a_file_stands_for_itself_and_what_it_imports(root):
    (root / "a/one.py").write_text("import c.three\n\ndef late():\n    from a.b import two, nothing\n")
    (root / "a/apart.py").write_text("")
    before = digest("a/one.py")
    (root / "a/apart.py").write_text("1")
    assert digest("a/one.py") == before
    (root / "c/three.py").write_text("from a import b, one")  # a circle, and a package without a source
    assert digest("a/one.py") != before
    before = digest("a/one.py")
    edit_in_a_sub_folder(root)
    assert digest("a/one.py") != before


def test_comments_and_docstrings_do_not_count(root):
    code = 'def f(a):\n    return a["#"]\n'
    (root / "a/one.py").write_text(code)
    before = digest("a")
    commented = '"""New."""\n\ndef f(a):  # why\n    """Two\n    lines."""\n    # more\n    return a["#"]\n'
    (root / "a/one.py").write_text(commented)
    assert digest("a") == before
    (root / "a/one.py").write_text(code.replace("#", "# "))
    assert digest("a") != before


@pytest.mark.parametrize("package", ["nowhere", "empty", "a/none.py"])
def test_a_package_without_sources_is_refused(root, package):
    (root / "empty").mkdir()
    text = f"package must be a folder with Python sources, or one of these, not '{package}'"
    with pytest.raises(ValueError, match=text):
        source_digest("c", package)


def test_the_folder_of_caches(tmp_path, monkeypatch):
    monkeypatch.delenv("SPATTEN_CACHE", raising=False)
    monkeypatch.setattr(cache, "_ROOT", tmp_path)
    assert cache_folder() == Path(platformdirs.user_cache_dir("spatten"))
    (tmp_path / "pyproject.toml").write_text("")
    assert cache_folder() == tmp_path / "build"
    monkeypatch.setenv("SPATTEN_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
