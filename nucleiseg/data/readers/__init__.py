"""Readers by the name that `reader` gives them: those of one data set, and the one that mixes several."""

from nucleiseg.data.readers.base import Reader
from nucleiseg.data.readers.mixed import SINGLE, MixedReader

READERS: dict[str, type[Reader]] = dict(sorted({**SINGLE, "mixed": MixedReader}.items()))
