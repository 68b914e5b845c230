"""``cm pictures``: what a folder of labelled pictures holds, and which of them are doubtful."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cmlib.cli.options import Cache, Labels, Side

if TYPE_CHECKING:
    import pandas as pd

    from cmlib.preparation.picture_crops import PictureSet

LINES_SHOWN = 20  # doubtful pictures that are printed
THUMBNAIL = 128  # pixels
DOUBTFUL_COLUMNS = 8  # of the sheet of doubtful pictures
SHOWN_KINDS = ("face", "small")  # reasons for which a picture that was left out can be shown


def pictures(
    folder: Annotated[Path, Parameter(help="The folder of the pictures.")],
    /,
    *,
    labels: Labels = None,
    size: Side = 128,
    sheet: Annotated[
        Path | None,
        Parameter(
            help="Also write a picture with a face of each person and emotion, and one beside it "
            "(NAME-doubtful) of what was left out, is grey or is turned away."
        ),
    ] = None,
    cache: Cache = None,
) -> None:
    """Look through a folder of labelled pictures before they are paired with voices."""
    from cmlib.preparation.picture_crops import crop_folder

    crops = crop_folder(folder, size, cache, labels=labels)
    people = crops.table.person.nunique()
    print(f"{folder} ({crops.kind}): {len(crops.table)} faces of {people} people")
    if people > 1 or crops.table.emotion.any():
        _print_emotions(crops.table)
    doubtful = _doubtful(crops)
    for kind, rows in doubtful.groupby("kind", sort=False):
        print(f"{kind}: {len(rows)}")
        for _, row in rows.head(LINES_SHOWN).iterrows():
            print(f"  {row.file}: {row.reason}")
        if len(rows) > LINES_SHOWN:
            print(f"  ... and {len(rows) - LINES_SHOWN} more")
    if sheet:
        _draw_sheets(crops, folder, doubtful, sheet)


def _print_emotions(table: pd.DataFrame) -> None:
    """Print how many pictures show each emotion, and of how many people."""
    for emotion, rows in table.groupby("emotion"):
        print(
            f"  {emotion or 'without a label':<16}{len(rows):>6} of {rows.person.nunique()} people"
        )


def _doubtful(crops: PictureSet) -> pd.DataFrame:
    """A row for each picture that was left out or has a remark: kind, file, reason."""
    import pandas as pd

    rows = []
    for _, (path, reason) in crops.skipped.iterrows():
        kind, _, fault = reason.partition(": ")
        rows.append({"kind": f"left out, {kind}", "file": path, "reason": fault})
    for _, (file, remark) in crops.remarks.iterrows():
        rows.append({"kind": f"{remark}, used all the same", "file": file, "reason": remark})
    return pd.DataFrame(rows, columns=["kind", "file", "reason"])


def _draw_sheets(crops: PictureSet, folder: Path, doubtful: pd.DataFrame, path: Path) -> None:
    """Draw a face of each person and emotion, and the doubtful pictures as they are."""
    from cmlib.plots.kinds import image_grid

    path.parent.mkdir(parents=True, exist_ok=True)
    table = crops.table.reset_index(drop=True)
    emotions = sorted(set(table.emotion))
    people = sorted(set(table.person), key=lambda person: (len(person), person))
    first = table.reset_index().groupby(["person", "emotion"])["index"].first()
    grid = []
    for person in people:
        faces = [first.get((person, emotion)) for emotion in emotions]  # rows of the table
        grid.append([None if row is None else crops.pictures[row] for row in faces])
    image_grid(grid, people, emotions, size=0.6).savefig(path)
    print(f"contact sheet: {path}")

    shown, captions = _thumbnails(folder, doubtful)
    if shown:
        beside = path.with_name(f"{path.stem}-doubtful{path.suffix}")
        picture_rows, caption_rows = [], []
        for start in range(0, len(shown), DOUBTFUL_COLUMNS):
            picture_rows.append(shown[start : start + DOUBTFUL_COLUMNS])
            caption_rows.append(captions[start : start + DOUBTFUL_COLUMNS])
        image_grid(picture_rows, captions=caption_rows, size=1.2).savefig(beside)
        print(f"doubtful pictures: {beside}")


def _thumbnails(folder: Path, doubtful: pd.DataFrame) -> tuple[list, list[str]]:
    """The doubtful pictures that can be opened, as squares (S, S, 3) uint8, and their captions."""
    import numpy as np
    from PIL import Image, ImageOps

    from cmlib.preparation.picture_crops import open_picture

    shown, captions = [], []
    for _, row in doubtful.iterrows():
        kind = row.kind.removeprefix("left out, ")
        if row.kind.startswith("left out") and kind not in SHOWN_KINDS:
            continue
        picture = Image.fromarray(open_picture(folder / row.file))
        shown.append(np.asarray(ImageOps.pad(picture, (THUMBNAIL, THUMBNAIL), color="white")))
        fault = "no face" if kind == "face" else kind.partition(",")[0]
        captions.append(f"{Path(row.file).name[-18:]}: {fault}")
    return shown, captions
