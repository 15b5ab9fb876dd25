"""The readers of every format by name; a new format is a file here and a line below."""

from nucleiseg.data.readers.aperio import AperioReader
from nucleiseg.data.readers.arrays import ConicReader, PanNukeReader
from nucleiseg.data.readers.base import Reader
from nucleiseg.data.readers.cellpose import CellposeReader
from nucleiseg.data.readers.coco import CocoReader
from nucleiseg.data.readers.demo import DemoReader
from nucleiseg.data.readers.folders import FoldersReader
from nucleiseg.data.readers.geojson import GeoJsonReader
from nucleiseg.data.readers.label_maps import LabelMapsReader
from nucleiseg.data.readers.labelme import LabelMeReader
from nucleiseg.data.readers.matlab import MatlabReader
from nucleiseg.data.readers.published import ClassFilesReader, CryoNuSegReader, NuInsSegReader, TnbcReader
from nucleiseg.data.readers.via import ViaReader

FORMATS: dict[str, type[Reader]] = {
    "aperio": AperioReader,
    "cellpose": CellposeReader,
    "coco": CocoReader,
    "conic": ConicReader,
    "cryonuseg": CryoNuSegReader,
    "demo": DemoReader,
    "folders": FoldersReader,
    "geojson": GeoJsonReader,
    "label_maps": LabelMapsReader,
    "labelme": LabelMeReader,
    "matlab": MatlabReader,
    "nuinsseg": NuInsSegReader,
    "pannuke": PanNukeReader,
    "tnbc": TnbcReader,
    "via": ViaReader,
    "vrdl2025": ClassFilesReader,
}
