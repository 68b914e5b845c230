"""Speed and memory as ratios, measured side by side in one run: ``python -m benchmarks`` (docs/benchmarks.md)."""

import cmlib as cmlib  # before torch, whose threads it tells how to wait
