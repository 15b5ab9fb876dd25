"""One script a command: `python train.py` of a clone and `nucleiseg train` of an installation start the same one."""
