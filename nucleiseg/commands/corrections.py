"""Count and draw edits made in QuPath: `nucleiseg corrections predictions=FOLDER edited=FOLDER input=FOLDER`.

`nucleiseg corrections --help` lists every key.
"""

from typing import NoReturn

from nucleiseg.cli.corrections import corrections
from nucleiseg.cli.entry import start_command


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    start_command("corrections", lambda config: corrections(**config))


if __name__ == "__main__":
    start()
