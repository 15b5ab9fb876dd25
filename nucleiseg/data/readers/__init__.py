"""Readers by the name that `reader` gives them: those of `formats`, and those that no layout of files points to."""

from nucleiseg.data.readers.auto import AutoReader
from nucleiseg.data.readers.base import Reader
from nucleiseg.data.readers.corrections import CorrectionsReader
from nucleiseg.data.readers.formats import FORMATS
from nucleiseg.data.readers.mixed import MixedReader

READERS: dict[str, type[Reader]] = dict(
    sorted({**FORMATS, "auto": AutoReader, "corrections": CorrectionsReader, "mixed": MixedReader}.items())
)
