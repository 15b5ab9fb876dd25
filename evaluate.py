"""Score anybody's results: `python evaluate.py predictions=FILE truth=FILE_OR_FOLDER [key=value ...]`.

Or a checkpoint on a data set: `python evaluate.py checkpoint=FILE_OR_RUN data=folders data.root=DIR [key=value ...]`.
`--help` lists every key.
"""

if __name__ == "__main__":
    # Not at the top: spawned workers import this file again. Hydra's completion for the fish shell takes files in which
    # it finds "@hydra.main" for scripts.
    from nucleiseg.commands.evaluate import start

    start()
