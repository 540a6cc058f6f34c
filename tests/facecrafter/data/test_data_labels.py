"""Label files as spreadsheets, pandas and other systems write them; bounded, and named when they cannot be
read."""

from __future__ import annotations

from pathlib import Path

import pytest

from facecrafter.data.files import header_of, lines_of, person, relative, rows_of


def test_label_files_are_bounded_text_with_one_length_of_row(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    with pytest.raises(FileNotFoundError, match=r"labels\.csv is missing"):
        list(lines_of(path))
    path.write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(ValueError, match=r"not a UTF-8"):
        list(lines_of(path))
    path.write_text("a,b\n1,2\n1,2,3\n")
    with pytest.raises(ValueError, match=r"line 3: 3 cells for 2 columns"):
        list(rows_of(path))
    path.write_text("a,a\n1,2\n")
    with pytest.raises(ValueError, match=r"two columns"):
        list(rows_of(path))
    path.write_text("a,b\n" + "x" * 200_000 + ",2\n")
    with pytest.raises(ValueError, match=r"field larger"):
        list(rows_of(path))
    with pytest.raises(ValueError, match=r"larger than 0 MiB"):
        list(lines_of(path, 100))


ROWS = [
    {"path": "a b/1.png", "identity": "Ada, Countess", "tall": "1"},
    {"path": "2.png", "identity": "Bo", "tall": "0"},
]
PLAIN = 'path,identity,tall\na b/1.png,"Ada, Countess",1\n2.png,Bo,0\n'


@pytest.mark.parametrize(
    ("how", "content"),
    [
        ("as it is", PLAIN.encode()),
        ("without a last line end", PLAIN.rstrip().encode()),
        ("with empty lines", b"\n\n" + PLAIN.replace("2.png", "\n2.png").encode() + b"\n  \n\n"),
        ("with lines of empty cells", PLAIN.encode() + b",,\n,,\n"),
        ("with empty columns at the end", PLAIN.replace("\n", ",,\n").encode()),
        ("with a byte-order mark", b"\xef\xbb\xbf" + PLAIN.encode()),
        ("in UTF-16", PLAIN.encode("utf-16")),
        ("with the line ends of Windows", PLAIN.replace("\n", "\r\n").encode()),
        ("with the line ends of old Macs", PLAIN.replace("\n", "\r").encode()),
        (
            "with every cell quoted",
            b'"path","identity","tall"\n"a b/1.png","Ada, Countess","1"\n"2.png","Bo","0"\n',
        ),
        ("with spaces", b'path , identity, tall\na b/1.png , "Ada, Countess" , 1\n  2.png, Bo,  0 \n'),
        ("with tabs", b"path\tidentity\ttall\na b/1.png\tAda, Countess\t1\n2.png\tBo\t0\n"),
        ("with semicolons", b"path;identity;tall\na b/1.png;Ada, Countess;1\n2.png;Bo;0\n"),
    ],
)
def test_a_table_is_read_however_it_is_written(tmp_path: Path, how: str, content: bytes) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    assert header_of(path, ["path", "identity"]) == ["path", "identity", "tall"], how
    assert [row for _, row in rows_of(path)] == ROWS, how


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text('\n\na,b\n"two\nlines",1\n\n1,2,3\n')
    with pytest.raises(ValueError, match=r"line 7: 3 cells for 2 columns"):
        list(rows_of(path))


def test_a_missing_column_brings_the_closest_and_what_was_taken_for_the_header(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("Path,identity\n1.png,Ada\n")
    with pytest.raises(
        ValueError,
        match=r"no column 'path' among Path, identity \(its first line\) \(did you mean 'Path'\?\)",
    ):
        header_of(path, ["path"])


def test_a_label_file_that_is_not_there_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "label.csv").touch()
    with pytest.raises(
        FileNotFoundError, match=rf"named 'labels.csv' in {tmp_path}, which holds label.csv \(did you"
    ):
        list(lines_of(tmp_path / "labels.csv"))
    (tmp_path / "labels.csv").symlink_to("moved.csv")
    with pytest.raises(FileNotFoundError, match=r"labels\.csv is a link to moved\.csv, which does not exist"):
        list(lines_of(tmp_path / "labels.csv"))


@pytest.mark.parametrize(
    "name",
    ["../a.png", "/etc/passwd", "a/../../b.png", "a/../b.png", "..\\a.png", "C:\\a.png", "\\\\host\\a"],
)
def test_a_label_leads_nowhere_else(name: str) -> None:
    with pytest.raises(ValueError, match=r"leads out"):
        relative(name, Path("/data"))


def test_paths_have_one_spelling() -> None:
    assert {
        relative(name, Path("/data"))
        for name in ("a/b.png", "./a/b.png", "a//b.png", "a\\b.png", "a/./b.png", "/data/a/b.png")
    } == {"a/b.png"}
    for name in ("", ".", "a\0b", "a\nb"):
        with pytest.raises(ValueError, match=r"no path|control character"):
            relative(name, Path("/data"))


def test_rows_that_read_alike_are_one_person() -> None:
    """Otherwise somebody would be private and public at once."""
    same = ("Zoë Grün", "Zoe\u0308 Gru\u0308n", " Zoë\u00a0Grün", "Zoë\u200b Grün", "\ufeffZoë  Grün")
    assert {person(name) for name in same} == {"Zoë Grün"}
    assert person("Zoe Grun") != person("Zoë Grün")
