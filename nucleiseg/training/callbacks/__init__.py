"""The callbacks of a run, one behavior a file; `training.trainer.run_callbacks` orders them."""
