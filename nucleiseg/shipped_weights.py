"""Weights that are installed with the package: their names and files.

    python predict.py checkpoint=nuclei input=DIR                     # no network, no training
    python train.py model=nuclei_fpn model.weights=nuclei data=...    # fine-tune

`nucleiseg/weights/README.md` is their model card. They are checkpoints like those of a run, in half precision
(`python zoo.py export=CHECKPOINT output=FILE.ckpt`).
"""

from pathlib import Path

SHIPPED_WEIGHTS = {"nuclei": Path(__file__).resolve().parent / "weights" / "nuclei.ckpt"}
"""Name -> file."""
