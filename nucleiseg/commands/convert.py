"""Write a data set in another layout: `nucleiseg convert data=auto data.root=DIR output=FOLDER to=coco`.

`nucleiseg convert --help` lists every key.
"""

from typing import NoReturn

from nucleiseg.cli.convert import convert
from nucleiseg.cli.entry import start_command


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    start_command("convert", convert)


if __name__ == "__main__":
    start()
