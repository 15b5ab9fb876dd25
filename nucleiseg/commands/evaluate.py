"""Score a file of results: `nucleiseg evaluate predictions=FILE truth=FILE_OR_FOLDER [key=value ...]`.

Or a checkpoint on a data set: `nucleiseg evaluate checkpoint=FILE_OR_RUN data=folders data.root=DIR [key=value ...]`.
`nucleiseg evaluate --help` lists every key.
"""

from typing import NoReturn

from nucleiseg.cli.entry import start_command
from nucleiseg.cli.evaluate import evaluate


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    start_command("evaluate", lambda config: evaluate(**config))


if __name__ == "__main__":
    start()
