"""Put this folder and `tests/evaluation` on the path, so that tests can import their helpers."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "evaluation")]
