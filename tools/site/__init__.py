"""The demo of the course as a page that runs in the reader's own browser.

``python -m tools.site demo`` writes ``site/demo``: the networks as ONNX (``networks.py``), some
faces and voices to begin with (``examples.py``), the program that computes them in WebAssembly
(``registry.py``), and the page itself (``page/``).  It needs the extra ``site``.
``python -m tools.site parity`` compares what the page computes with what Python computes
(``parity.py``) and needs the extra ``browser``.
"""
