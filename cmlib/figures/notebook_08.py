"""The picture of notebook 08: what the demo shows first."""

from __future__ import annotations

from cmlib.apps.demo import Demo
from cmlib.experiment.run import Run
from cmlib.figures.figure import Notebook, faces
from cmlib.plots import notebook_08 as plots

notebook = Notebook("08_generation_demo", needs=faces)


@notebook.figure("08_demo", plots.demo, "what the demo shows first")
def demo(run: Run) -> dict:
    """``perception`` is what the demo shows when it opens."""
    return {"perception": Demo(run, run.perceiver()).perception}
