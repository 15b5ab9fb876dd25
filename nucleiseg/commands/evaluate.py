"""Score a file of results: `nucleiseg evaluate predictions=FILE truth=FILE_OR_FOLDER [key=value ...]`.

Or a checkpoint on a data set: `nucleiseg evaluate checkpoint=FILE_OR_RUN data=folders data.root=DIR [key=value ...]`.
`nucleiseg evaluate --help` lists every key.
"""

from typing import Any, NoReturn

from nucleiseg.cli.entry import start_command


def run(config: dict[str, Any]) -> int:
    """Run the command with a composed configuration; return the number of items that failed."""
    # Imported here: `--help` and the completion of command lines do not wait for torch.
    from nucleiseg.cli.evaluate import evaluate

    return evaluate(**config)


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    start_command("evaluate", run)


if __name__ == "__main__":
    start()
