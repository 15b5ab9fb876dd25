"""Look at the data before training: `nucleiseg preview data=folders data.root=DIR aug=recipe output=preview`.

Writes a sheet of raw images, a sheet of augmented crops with their outlines, and the nuclei per image.
"""

from typing import NoReturn

from nucleiseg.cli.entry import start_command
from nucleiseg.cli.preview import preview


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    start_command("preview", preview)


if __name__ == "__main__":
    start()
