"""Look at the data before training: `python preview.py data=folders data.root=DIR aug=recipe output=preview`.

Writes a sheet of raw images, a sheet of augmented crops with their outlines, and the nuclei per image.
"""

if __name__ == "__main__":
    # Not at the top: spawned workers import this file again. The function decorated with @hydra.main is in that module;
    # Hydra's completion for the fish shell greps a script for the word.
    from nucleiseg.commands.preview import start

    start()
