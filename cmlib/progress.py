"""The one progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable


def progress_bar(
    iterable: Iterable | None = None, description: str = "", shown: bool | None = None, **options
):
    """A tqdm progress bar around an iterable, or one that is updated by hand.

    The ``options`` are tqdm's. The bar is shown on a terminal and in a notebook, unless the
    environment variable CM_QUIET is set. ``shown`` overrules this.
    """
    from tqdm.auto import tqdm  # here: it loads the widgets of notebooks

    if shown is None:
        watched = sys.stderr.isatty() or "ipykernel" in sys.modules
        shown = watched and not os.environ.get("CM_QUIET")
    return tqdm(iterable, description, disable=not shown, **options)
