"""Write a data set in another layout: `python convert.py data=auto data.root=DIR output=FOLDER to=coco`.

`--help` lists every key.
"""

if __name__ == "__main__":
    # Not at the top: spawned workers import this file again. The function decorated with @hydra.main is in that module;
    # Hydra's completion for the fish shell greps a script for the word.
    from nucleiseg.commands.convert import start

    start()
