"""Tables that say whom pictures show: the many ways in which people write them."""

import numpy as np
import pandas as pd
import pytest
from conftest import face
from PIL import Image

from cmlib.cli import main
from cmlib.corpora import CorpusError, picture_folders
from cmlib.corpora.picture_tables import PictureTable, find_table, person_numbers
from cmlib.preparation import picture_crops


def put(folder, *names, picture=None):
    """Small pictures of these names, without a face unless there is a ``picture``."""
    pixels = np.full((6, 6, 3), 90, np.uint8) if picture is None else picture
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def labels_of(root, table=None):
    """Kind, {file: (person, emotion)}, and reasons of a folder."""
    kind, rows, skipped = picture_folders.scan(root, table)
    labels = {row.file: (row.person, row.emotion) for row in rows.itertuples()}
    return kind, labels, [reason for _, reason in skipped]


@pytest.mark.parametrize(
    "text",
    [
        "file,person,emotion\na.png,1,happy\nsub/b.png,2,sad\n",
        "\ufeffFile;Person;Emotion\r\na.png;1;Happiness\r\nsub\\b.png;2;SADNESS\r\n",
        "person\tpicture\texpression\n1\tset/a.png\tjoy\n2\tset/sub/b.png\tsad\n",
        'actor,filename,label\n1,"A.PNG",happy\n2,b,sorrow\n',
        "file,person,emotion\n./a.png, 1 , happy \n\nelsewhere/b.png,2,sad\n",
    ],
    ids=["plain", "spreadsheet", "tabs", "upper case, no suffix", "spaces and other folders"],
)
def test_a_table_may_be_written_in_many_ways(tmp_path, text):
    root = put(tmp_path / "set", "a.png", "sub/b.png")
    (tmp_path / "set.csv").write_bytes(text.encode())
    kind, labels, reasons = labels_of(root)
    assert kind == "labelled" and not reasons
    assert labels == {"a.png": ("1", "happy"), "sub/b.png": ("2", "sad")}


def test_words_of_other_sets_are_understood(tmp_path):
    words = {
        "Anger": "angry", "afraid": "fearful", "Disgusted": "disgust", "SURPRISE": "surprised",
        "at rest": "neutral", "neutral": "neutral", "calm": "calm", "contemptuous": "contempt",
    }  # fmt: skip
    root = put(tmp_path / "set", *(f"{i}.png" for i in range(len(words))))
    lines = [f"{i}.png,1,{word}" for i, word in enumerate(words)]
    (root / "labels.csv").write_text("file,person,emotion\n" + "\n".join(lines))
    _, labels, _ = labels_of(root)
    assert [emotion for _, emotion in labels.values()] == list(words.values())


def test_further_columns_are_kept_and_the_last_tenth_of_the_people_validates(tmp_path):
    names = [f"{person}.png" for person in range(1, 21)]
    root = put(tmp_path / "set", *names)
    rows = [f"{name},{name[:-4]},happy,{i / 100},test" for i, name in enumerate(names)]
    header = "file,person,emotion,Rated_Happy,part\n"  # the part is that of somebody else's split
    (tmp_path / "set.csv").write_text(header + "\n".join(rows))
    _, table, _ = picture_folders.scan(root)
    assert list(table.columns) == ["file", "part", "person", "emotion", "Rated_Happy"]
    assert set(table.person[table.part == "val"]) == {"19", "20"}
    assert table.set_index("file").Rated_Happy["3.png"] == "0.02"


def test_rows_and_files_that_do_not_fit_are_counted_and_named(tmp_path):
    root = put(tmp_path / "set", "a.png", "x/a.png", "b.png", "c.png", "x/twin.png", "y/twin.png")
    (tmp_path / "set.csv").write_text(
        "file,person,emotion\na.png,1,happy\nlost.png,1,sad\na.png,1,sad\n"
        "b.png,1,puzzled\nc.png,,sad\ntwin.png,2,sad\n"
    )
    _, labels, reasons = labels_of(root)
    assert labels == {"a.png": ("1", "happy")}
    for words in (
        "line 3, lost.png: no such picture",
        "line 4, a.png: a second row; line 2 counts",
        "line 5, b.png: emotion 'puzzled' is unknown; use neutral, calm",
        "line 6, c.png: no person",
        "line 7, twin.png: more than one such picture",
    ):
        assert [reason for reason in reasons if words in reason], words
    assert reasons.count("row: none in set.csv") == 3  # x/a.png and the twins


def test_another_table_can_be_named_and_a_wrong_one_is_refused(tmp_path):
    root = put(tmp_path / "set", "a.png")
    (tmp_path / "set.csv").write_text("file,person,emotion\na.png,1,happy\n")
    (tmp_path / "other.csv").write_text("file,person,emotion\na.png,1,sad\n")
    assert labels_of(root, tmp_path / "other.csv")[1] == {"a.png": ("1", "sad")}
    (tmp_path / "wrong.csv").write_text("file,who,what\na.png,1,sad\n")
    with pytest.raises(CorpusError, match=r"wrong\.csv: no column person, emotion"):
        labels_of(root, tmp_path / "wrong.csv")
    with pytest.raises(CorpusError, match=r"none\.csv: No such file"):
        labels_of(root, tmp_path / "none.csv")
    (tmp_path / "lost.csv").write_text("file,person,emotion\nb.png,1,sad\n")
    with pytest.raises(CorpusError, match=r"lost\.csv: no row fits a picture"):
        labels_of(root, tmp_path / "lost.csv")


def test_a_table_without_labels_is_none(tmp_path):
    root = put(tmp_path / "set", "a.png")
    (tmp_path / "set.csv").write_text("file,part,person,emotion\na.png,train,,\n")
    assert find_table(root) is None and labels_of(root)[0] == "images"


def test_old_spreadsheets_have_another_encoding(tmp_path):
    (tmp_path / "t.csv").write_bytes("file;person;emotion\na.png;Zoë;happy\n".encode("cp1252"))
    assert PictureTable.read(tmp_path / "t.csv").rows.person.tolist() == ["Zoë"]


def test_people_keep_their_numbers_or_get_some():
    assert person_numbers(pd.Series(["10", "2", "2"])) == {"10": 10, "2": 2}
    assert person_numbers(pd.Series(["bob", "ann"])) == {"ann": 1, "bob": 2}
    assert person_numbers(pd.Series(["2", "ann"])) == {"2": 1, "ann": 2}


# -------------------------------------------------------------------- doubtful pictures


def test_doubtful_pictures_are_counted_and_shown(tmp_path, capsys):
    root = put(tmp_path / "set", "a_happy.png", "b_happy.png", picture=face())
    grey = np.repeat(face().mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
    put(root, "b_sad.png", picture=grey)
    put(root, "a_sad.png")
    rows = [f"{p}_{e}.png,{p},{e}" for p in "ab" for e in ("happy", "sad")]
    (tmp_path / "set.csv").write_text("file,person,emotion\n" + "\n".join(rows))
    sheet = tmp_path / "new" / "sheet.png"
    arguments = ["--size", "64", "--sheet", str(sheet), "--cache", str(tmp_path / "cache")]
    assert main(["pictures", str(root), *arguments]) == 0
    out = capsys.readouterr().out
    for words in (
        "(labelled): 3 faces of 2 people",
        "happy                2 of 2 people",
        "left out, face: 1\n  a_sad.png: none found",
        "grey, used all the same: 1\n  b_sad.png",
        f"contact sheet: {sheet}",
        "sheet-doubtful.png",
    ):
        assert words in out, words
    assert Image.open(sheet).width > 100
    assert Image.open(sheet.with_name("sheet-doubtful.png")).width > 100


@pytest.mark.parametrize(
    ("off", "remark"), [(0.1, ""), (0.3, ""), (0.4, "turned"), (-0.4, "turned")]
)
def test_a_turned_head_has_its_nose_off_the_middle(off, remark):
    points = np.array([[40, 40], [80, 40], [60 + 40 * off, 60], [60, 85], [20, 45], [100, 45]])
    crop = np.zeros((8, 8, 3), np.uint8)
    crop[..., 0] = 200
    assert picture_crops._remark(crop, points.astype(float)) == remark
