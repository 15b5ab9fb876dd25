"""Find the nuclei of images: `python predict.py checkpoint=FILE input=FILE_OR_FOLDER output=FOLDER [key=value ...]`.

`--help` lists every key.
"""

if __name__ == "__main__":
    # Not at the top: spawned workers import this file again. Hydra's completion for the fish shell takes files in which
    # it finds "@hydra.main" for scripts.
    from nucleiseg.commands.predict import start

    start()
