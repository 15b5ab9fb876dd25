"""Write a data set in another layout: `nucleiseg convert data=auto data.root=DIR output=FOLDER to=coco`.

`nucleiseg convert --help` lists every key.
"""

from typing import Any, NoReturn

from nucleiseg.cli.entry import start_command


def run(config: dict[str, Any]) -> int:
    """Run the command with a composed configuration; return the number of items that failed."""
    # Imported here: `--help` and the completion of command lines do not wait for torch.
    from nucleiseg.cli.convert import convert

    return convert(config)


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    start_command("convert", run)


if __name__ == "__main__":
    start()
