"""Readers by the name that `reader` gives them: those of `formats`, and `auto`, which recognizes the format."""

from nucleiseg.data.readers.auto import AutoReader
from nucleiseg.data.readers.base import Reader
from nucleiseg.data.readers.formats import FORMATS

READERS: dict[str, type[Reader]] = dict(sorted({**FORMATS, "auto": AutoReader}.items()))
