"""Count and draw what was edited in QuPath: `python corrections.py predictions=FOLDER edited=FOLDER input=FOLDER`.

`--help` lists every key.
"""

if __name__ == "__main__":
    # Not at the top: spawned workers import this file again. The function decorated with @hydra.main is in that module;
    # Hydra's completion for the fish shell greps a script for the word.
    from nucleiseg.commands.corrections import start

    start()
