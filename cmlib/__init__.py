"""Context Matters: facial expressions in the context of a voice."""

import os

# Before torch is loaded.  OpenMP's threads (GNU's, as in torch's Linux builds) wait for each other by spinning, for milliseconds; where another
# program has one of the cores, the one waited for does not run, and everything takes up to ten times as long (docs/benchmarks.md).
SPINS = 10_000  # the Makefile says the same
os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))

__version__ = "0.1.0"
