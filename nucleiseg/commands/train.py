"""Train a Mask R-CNN: `nucleiseg train [-m] [key=value ...]`, or `nucleiseg train resume=RUN_DIR`.

`nucleiseg train --help` lists the configuration groups and every key.
"""

import sys
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from nucleiseg.cli.containers import to_container
from nucleiseg.cli.entry import exit_on_input_error, run_command
from nucleiseg.cli.shipped import CONF


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(config: DictConfig) -> None:
    """Train with the composed configuration in Hydra's run folder."""
    # imported here: spawned workers import this file again, without training
    from nucleiseg.cli.hydra_files import hydra_files
    from nucleiseg.cli.train import train
    from nucleiseg.sweeps.keys import refuse_ddp_in_sweep, refuse_sweep_keys_alone

    run_dir = Path(HydraConfig.get().runtime.output_dir)
    with exit_on_input_error(run_dir):
        refuse_sweep_keys_alone()
        refuse_ddp_in_sweep(config.get("trainer") or {})
        train(to_container(config), run_dir, hydra_files=hydra_files(config))


def resume() -> None:
    """Resume the run of `resume=`, whose command line Hydra does not parse."""
    from nucleiseg.cli.resume import resume as resume_run
    from nucleiseg.cli.resume import resume_arguments

    arguments = resume_arguments(sys.argv[1:])
    run_dir = next(text for text in arguments if text.startswith("resume=")).removeprefix("resume=")
    with exit_on_input_error(run_dir):
        resume_run(arguments)


def start() -> NoReturn:
    """Start or resume a run with the arguments of this process."""
    if any(argument.startswith("resume=") for argument in sys.argv[1:]):
        run_command(resume)
    run_command(main, "train")


if __name__ == "__main__":
    start()
