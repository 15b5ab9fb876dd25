"""Pretrained weights: `nucleiseg zoo` lists them, `nucleiseg zoo fetch=NAME,NAME` downloads ahead.

`nucleiseg zoo export=CHECKPOINT output=FILE.pkl` turns a checkpoint into a file of detectron2.
`nucleiseg zoo --help` lists every key.
"""

import sys
from typing import NoReturn

from nucleiseg.cli.entry import start_command
from nucleiseg.cli.zoo import as_lists, zoo


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    sys.argv[1:] = as_lists(sys.argv[1:])
    start_command("zoo", lambda config: zoo(**config))


if __name__ == "__main__":
    start()
