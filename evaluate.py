"""Score anybody's results: `python evaluate.py predictions=FILE truth=FILE_OR_FOLDER [key=value ...]`.

Or a checkpoint on a data set: `python evaluate.py checkpoint=FILE_OR_RUN data=folders data.root=DIR [key=value ...]`.
`--help` lists every key.
"""

if __name__ == "__main__":
    # Not at the top: spawned workers import this file again. The function decorated with @hydra.main is in that module;
    # Hydra's completion for the fish shell greps a script for the word.
    from nucleiseg.commands.evaluate import start

    start()
