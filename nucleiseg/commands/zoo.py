"""Pretrained weights: `nucleiseg zoo` lists them, `nucleiseg zoo fetch=NAME,NAME` downloads ahead.

`nucleiseg zoo export=CHECKPOINT output=FILE.pkl` turns a checkpoint into a file of detectron2.
`nucleiseg zoo --help` lists every key.
"""

import sys
from typing import Any, NoReturn

from nucleiseg.cli.command_line import with_fetch_as_list
from nucleiseg.cli.entry import start_command


def run(config: dict[str, Any]) -> int:
    """Run the command with a composed configuration; return the number of items that failed."""
    # Imported here: `--help` and the completion of command lines do not wait for torch.
    from nucleiseg.cli.zoo import zoo

    return zoo(**config)


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    sys.argv[1:] = with_fetch_as_list(sys.argv[1:])
    start_command("zoo", run)


if __name__ == "__main__":
    start()
