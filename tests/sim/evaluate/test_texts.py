"""Texts gathered from a small tree in the place of a machine."""

import gzip

import pytest

from sim.evaluate.texts import HALVES, KINDS, Places, gather, manual_text


@pytest.fixture
def places(tmp_path):
    return Places(library=tmp_path / "lib", packages=tmp_path / "lib" / "site-packages", share=tmp_path / "share")


def put(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode(encoding)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def read(folder, kind):
    return [(folder / half / f"{kind}.txt").read_text(encoding="utf-8") for half in HALVES]


LICENCE = "Whoever has a copy may do with it what they like, as long as they do not say that they wrote it."


def test_kinds_halves_and_what_stands_twice(tmp_path, places):
    for number in range(8):
        put(places.library / f"module{number}.py", f"'''{LICENCE}'''\n\n\nNUMBER{number} = {number}\n")
        put(places.share / "man" / "ja" / "man1" / f"page{number}.1.gz", f".TH PAGE 1\n.SH 名前\n頁{number}\n")
    put(places.packages / "package" / "part.py", "PACKAGE = 1\n")
    out = tmp_path / "texts"
    written = gather(out, places, size=10_000)
    assert sorted(written) == ["japanese", "source"]
    assert not [name for name in KINDS if name not in written and (out / "first" / f"{name}.txt").exists()]
    first, second = read(out, "source")
    assert (first + second).count("Whoever") == 1, "a licence of all files is written once"
    for number in range(8):
        assert (f"NUMBER{number} =" in first) != (f"NUMBER{number} =" in second), "a file belongs to one half"
        assert "頁" + str(number) in "".join(read(out, "japanese"))
    assert first.count("NUMBER") == second.count("NUMBER") == 4
    assert (first + second).count("PACKAGE") == 1, "a package inside the library's folder is no part of the library"
    assert written["source"] == (len(first.encode()), len(second.encode()))
    again = tmp_path / "again"
    gather(again, places, size=10_000)
    assert read(again, "source") == [first, second]


def test_size_is_kept_in_whole_characters_and_no_file_has_more_than_its_share(tmp_path, places):
    for number in range(90):
        put(places.share / "man" / "ja" / "man1" / f"page{number}.1.gz", f"{number:02}" + "字" * 500)
    written = gather(tmp_path / "texts", places, size=3200)
    for text, size in zip(read(tmp_path / "texts", "japanese"), written["japanese"], strict=True):
        assert 3100 <= size <= 3200 and set(text) <= set("字0123456789\n")
        assert max(len(run.encode()) for run in text.replace("字", " 字").split()) <= 100
        assert text.count("字") > 32 * 30


def test_files_that_are_no_text_are_passed_over(tmp_path, places):
    for number in range(4):
        put(places.library / f"module{number}.py", f"GOOD{number} = 1\n")
    put(places.library / "latin.py", "BAD = 'é'\n", encoding="latin-1")
    damaged = places.share / "man" / "man1" / "damaged.1.gz"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"\x1f\x8bnothing")
    written = gather(tmp_path / "texts", places, size=1000)
    assert list(written) == ["source"]
    assert "BAD" not in "".join(read(tmp_path / "texts", "source"))


@pytest.mark.parametrize(
    "source, want",
    [
        ('.TH LS 1 "May 2020"\n.SH NAME\nls \\- list files', "NAME\nls - list files"),
        (".BR grep (1),\n.I file name", "grep(1),\nfile name"),
        ('.SS "Two words"\n.PP\n\\fBbold\\fR and \\f[I]italic\\f[]', "Two words\n\nbold and italic"),
        ("l\\(aqun d\\*(Aqun \\['e]t\\[u00E9] \\[:a]", "l'un d'un été ä"),
        ('.\\" a comment\n\\&.profile \\e', ".profile \\"),
    ],
)
def test_words_of_a_manual_page(source, want):
    assert manual_text(source) == want
