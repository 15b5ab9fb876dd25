"""Train a network: the LightningModule, its callbacks, loggers and optimizer; `run.train` assembles them."""
