"""This folder on the path, for `fake_slurm`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
