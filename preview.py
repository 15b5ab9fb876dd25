"""Look at the data before training: `python preview.py data=folders data.root=DIR aug=recipe output=preview`.

Writes a sheet of raw images, a sheet of augmented crops with their outlines, and the nuclei per image.
"""

if __name__ == "__main__":
    # Not at the top: spawned workers import this file again. Hydra's completion for the fish shell takes files in which
    # it finds "@hydra.main" for scripts.
    from nucleiseg.commands.preview import start

    start()
