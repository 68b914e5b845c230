"""Context Matters: facial expressions in the context of a voice."""

import os

# This has to be set before torch is loaded. The threads of OpenMP (GNU's, as in torch's Linux
# builds) wait for each other by spinning, for milliseconds. If another program has one of the
# cores, the awaited thread does not run, and everything takes up to ten times as long
# (docs/benchmarks.md).
SPINS = 10_000  # the Makefile sets the same number
os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))

__version__ = "0.1.0"
