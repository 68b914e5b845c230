"""The course as a web site: the demo that runs in the reader's own browser, and the book.

``python -m tools.site demo`` writes ``site/demo``: the networks as ONNX (``networks.py``), some
faces and voices to begin with (``examples.py``), the program that computes them in WebAssembly
(``registry.py``), and the page itself (``page/``).  ``python -m tools.site book`` lays out the
pages of the project (``pages.py``) and lets Sphinx make the book.  Both need the extra ``site``.
``python -m tools.site parity`` compares what the page computes with what Python computes
(``parity.py``) and needs the extra ``browser``, and so does ``python -m tools.site measures``
(``measures.py``), which says how large and how fast the page is.
"""
