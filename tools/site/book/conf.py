"""Settings of Sphinx, which makes the book. The pages are laid out by tools/site/pages.py."""

import os

project = "Context Matters"
author = copyright = "The Context Matters authors, MIT License"
html_title = "Context Matters"
extensions = ["myst_nb", "sphinx.ext.autodoc"]

# The notebooks are shown as they were published. Nothing is executed.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4  # as GitHub gives them
myst_html_meta = {"description": "Context Matters: how a voice changes the face that is perceived."}

# Members in the order of the source, which is the order of thought.
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "ignore-module-all": True,  # a name is explained where it is defined, not where it is offered
}
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False  # torch's words about every ``forward`` explain none of ours
default_role = "code"

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_favicon = "icon.svg"
html_show_sourcelink = False
html_copy_source = False
html_extra_path = ["_extra"]  # pages that are not made by Sphinx, such as docs/corpus
html_theme_options = {"navigation_with_keys": True}
if os.environ.get("CM_REPOSITORY"):
    html_theme_options |= {
        "footer_icons": [
            {"name": "Source", "url": os.environ["CM_REPOSITORY"], "html": "source", "class": ""}
        ],
    }

# MathJax would come from another server.
html_math_renderer = "mathjax"
mathjax_path = "mathjax/tex-svg.js"

# Docstrings are plain text with some reST, and notebooks jump from a title to a third heading.
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type", "docutils", "autodoc", "ref.python"]
