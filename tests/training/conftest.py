"""A tiny network and a tiny data set, so that a training step takes milliseconds."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # `tiny.py` is shared with scripts that the tests start
