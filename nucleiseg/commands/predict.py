"""Find the nuclei of images: `nucleiseg predict checkpoint=FILE input=FILE_OR_FOLDER output=FOLDER [key=value ...]`.

`nucleiseg predict --help` lists every key.
"""

from typing import NoReturn

from nucleiseg.cli.entry import start_command
from nucleiseg.cli.predict import predict


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    start_command("predict", lambda config: predict(**config))


if __name__ == "__main__":
    start()
