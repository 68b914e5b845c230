"""``python -m cmlib.cli`` is ``cm``; training on several devices starts its processes this way."""

import sys

from cmlib.cli import main

sys.exit(main())
