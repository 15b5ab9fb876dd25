"""Look at the data before training: `nucleiseg preview data=folders data.root=DIR aug=recipe output=preview`.

Writes a sheet of raw images, a sheet of augmented crops with their outlines, and the nuclei per image.
"""

from typing import Any, NoReturn

from nucleiseg.cli.entry import start_command


def run(config: dict[str, Any]) -> None:
    """Run the command with a composed configuration."""
    # Imported here: `--help` and the completion of command lines do not wait for torch.
    from nucleiseg.cli.preview import preview

    preview(config)


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    start_command("preview", run)


if __name__ == "__main__":
    start()
