"""The demo of notebook 08, ``make demo``: pick a face and a voice, drag the context strength.

``demo.py`` has the behaviour, ``controls.py`` the lists and buttons, ``html.py`` the HTML,
``demo.css`` the style, and ``demo.js`` the script that refuses files which are too large.
"""

from cmlib.apps.demo.demo import Demo

__all__ = ["Demo"]
