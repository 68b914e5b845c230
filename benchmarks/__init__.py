"""Speed and memory as ratios, measured side by side in one run.

Run them with ``python -m benchmarks``; docs/benchmarks.md explains the rows.
"""

import cmlib as cmlib  # before torch, whose threads it tells how to wait
