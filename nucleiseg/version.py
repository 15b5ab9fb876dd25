"""The version of the package: what checkpoints, submissions and reports record."""

__version__ = "0.1.0"
