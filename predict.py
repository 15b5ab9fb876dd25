"""Find the nuclei of images: `python predict.py checkpoint=FILE input=FILE_OR_FOLDER output=FOLDER [key=value ...]`.

`python predict.py --help` lists every key.
"""

import sys

import hydra
from omegaconf import DictConfig

from nucleiseg.cli.containers import to_container
from nucleiseg.cli.entry import ExitCode, run_door, sentences
from nucleiseg.cli.predict import predict


@hydra.main(version_base="1.3", config_path="conf", config_name="predict")
def main(config: DictConfig) -> None:
    """Predict as the configuration says; exit with 1 if some images could not be read."""
    with sentences(config.get("output")):
        failed = predict(**to_container(config))
    if failed:
        sys.exit(ExitCode.SOME_FAILED)


if __name__ == "__main__":
    run_door(main, "predict")
