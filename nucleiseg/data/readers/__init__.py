"""Readers by the name that `reader` gives them; a new format is a file here and a line below."""

from nucleiseg.data.readers.base import Reader
from nucleiseg.data.readers.demo import DemoReader
from nucleiseg.data.readers.folders import FoldersReader

READERS: dict[str, type[Reader]] = {
    "demo": DemoReader,
    "folders": FoldersReader,
}
