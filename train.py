"""Train a Mask R-CNN: `python train.py [-m] [key=value ...]`, or `python train.py resume=RUN_DIR`.

`--help` lists the configuration groups and every key.
"""

if __name__ == "__main__":
    # Not at the top: spawned workers import this file again. Hydra's completion for the fish shell takes files in which
    # it finds "@hydra.main" for scripts.
    from nucleiseg.commands.train import start

    start()
