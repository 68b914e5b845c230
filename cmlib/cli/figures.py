"""``cm figures``: the figures of the notebooks, without the notebooks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cmlib.cli.options import Corpus, Fold, Fresh, Profile, Seed


def figures(
    *names: Annotated[
        str, Parameter(help="Names such as 06_test_accuracy or '06_*'; default: all.")
    ],
    corpus: Corpus = "actors",
    profile: Profile = "quick",
    fold: Fold = 1,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        Parameter(
            name=["--out", "-o"],
            help="Folder for the files; default: figures in the run's folder.",
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        Parameter(help="Also write a page of all figures with previews into this folder."),
    ] = None,
    list_names: Annotated[
        bool, Parameter(name="--list", help="Only print the names, and what they show.")
    ] = False,
    fresh: Fresh = False,
) -> None:
    """Draw figures again without training, as SVG, PDF, PNG and CSV."""
    from cmlib import provenance
    from cmlib.experiment.run import Run
    from cmlib.figures import catalogue
    from cmlib.figures.gallery import check_folder, write_gallery

    if list_names:
        print(catalogue.listing())
        return
    if gallery and names:
        raise ValueError("--gallery is a page of every figure: leave out NAME")
    if gallery:
        check_folder(gallery)
    if fresh:
        provenance.ignore_shipped()
    run, started = Run(corpus, profile, seed, fold), time.monotonic()
    folder = out or run.folder / "figures"
    figure_names = catalogue.draw(run, names, folder)
    print(f"{', '.join(figure_names)}\n{folder} ({time.monotonic() - started:.0f} s)")
    if gallery:
        about = f"Corpus `{corpus}`, profile `{profile}`, fold {fold}, seed {seed}."
        print(write_gallery(figure_names, folder, gallery, about))
