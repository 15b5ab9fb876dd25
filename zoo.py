"""List, download and export weights: `python zoo.py`, `python zoo.py fetch=NAME,NAME`.

`python zoo.py export=CHECKPOINT output=FILE.pkl` turns a checkpoint into a file of detectron2.
`--help` lists every key.
"""

if __name__ == "__main__":
    # Not at the top: spawned workers import this file again. Hydra's completion for the fish shell takes files in which
    # it finds "@hydra.main" for scripts.
    from nucleiseg.commands.zoo import start

    start()
