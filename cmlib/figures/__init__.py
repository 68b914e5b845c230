"""Every figure of the notebooks by name, drawn from a run by ``cm figures``.

A figure has two functions of the same name. One, in ``cmlib/figures/notebook_06.py`` for example,
computes the table behind the figure from a ``Run``. The other, in ``cmlib/plots/notebook_06.py``,
draws that table and knows nothing else. The notebook calls the same functions. ``catalogue.py``
lists all figures.

Whoever changes the numbers of a table raises the version ``evaluation`` in ``cmlib/provenance.py``,
so that the notebooks run again.
"""
