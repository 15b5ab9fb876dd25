"""Count and draw what was edited in QuPath: `python corrections.py predictions=FOLDER edited=FOLDER input=FOLDER`.

`--help` lists every key.
"""

if __name__ == "__main__":
    # Not at the top: spawned workers import this file again. Hydra's completion for the fish shell takes files in which
    # it finds "@hydra.main" for scripts.
    from nucleiseg.commands.corrections import start

    start()
