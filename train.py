"""Train a Mask R-CNN: `python train.py [-m] [key=value ...]`, or `python train.py resume=RUN_DIR`.

`--help` lists the configuration groups and every key.
"""

if __name__ == "__main__":
    # Not at the top: spawned workers import this file again. The function decorated with @hydra.main is in that module;
    # Hydra's completion for the fish shell greps a script for the word.
    from nucleiseg.commands.train import start

    start()
