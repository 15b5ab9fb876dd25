"""The version of the package: what checkpoints, submissions and reports record."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("nucleiseg")
except PackageNotFoundError:  # run from a folder that was never installed
    __version__ = "0+unknown"
