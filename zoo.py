"""List, download and export weights: `python zoo.py`, `python zoo.py fetch=NAME,NAME`.

`python zoo.py export=CHECKPOINT output=FILE.pkl` turns a checkpoint into a file of detectron2.
`--help` lists every key.
"""

if __name__ == "__main__":
    # Not at the top: spawned workers import this file again. The function decorated with @hydra.main is in that module;
    # Hydra's completion for the fish shell greps a script for the word.
    from nucleiseg.commands.zoo import start

    start()
