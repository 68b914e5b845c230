"""The demo of notebook 08, ``make demo``: pick a face and a voice, drag the context strength.

``demo.py`` says what happens, ``controls.py`` has its lists and buttons, ``html.py`` what is shown,
``demo.css`` how it looks.
"""

from cmlib.apps.demo.demo import Demo

__all__ = ["Demo"]
