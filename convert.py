"""Write a data set in another layout: `python convert.py data=auto data.root=DIR output=FOLDER to=coco`.

`--help` lists every key.
"""

if __name__ == "__main__":
    # Not at the top: spawned workers import this file again. Hydra's completion for the fish shell takes files in which
    # it finds "@hydra.main" for scripts.
    from nucleiseg.commands.convert import start

    start()
