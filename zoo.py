"""Pretrained weights: `python zoo.py` lists them, `python zoo.py fetch=NAME,NAME` downloads ahead.

`python zoo.py export=CHECKPOINT output=FILE.pkl` turns a checkpoint into a file of detectron2.
`python zoo.py --help` lists every key.
"""

import sys

import hydra
from omegaconf import DictConfig

from nucleiseg.cli.containers import to_container
from nucleiseg.cli.entry import ExitCode, run_door, sentences
from nucleiseg.cli.zoo import as_lists, zoo


@hydra.main(version_base="1.3", config_path="conf", config_name="zoo")
def main(config: DictConfig) -> None:
    """List, fetch or export as the configuration says; exit with 1 if some weights could not be fetched."""
    with sentences():
        failed = zoo(**to_container(config))
    if failed:
        sys.exit(ExitCode.SOME_FAILED)


if __name__ == "__main__":
    sys.argv[1:] = as_lists(sys.argv[1:])
    run_door(main, "zoo")
