"""The reader `auto`: every layout is told apart from all others, and near misses are named."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reader_files import SHAPE, box, corners, label_map, write_image, write_labels
from scipy.io import savemat

from nucleiseg.data.readers import READERS
from nucleiseg.data.readers.auto import AutoReader
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.data.readers.recognition import MOST_OPENED, Tree
from nucleiseg.errors import InputError

LABELS = label_map(box(2, 3, 8, 9), box(12, 15, 20, 24))
OUTLINE = [value for corner in corners(2, 3, 8, 9) for value in corner]


def folders(root: Path) -> None:
    write_folders(DemoReader(images=2, size=48), root)


def coco(root: Path) -> None:
    write_image(root / "images/a.png")
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [OUTLINE]}
    images = [{"id": 1, "file_name": "a.png", "height": SHAPE[0], "width": SHAPE[1]}]
    (root / "annotations.json").write_text(json.dumps({"images": images, "annotations": [annotation]}))


def label_maps(root: Path) -> None:
    for name in ("a", "b"):
        write_image(root / f"images/{name}.tif")
        write_labels(root / f"masks/{name}.tif", LABELS)


def cellpose(root: Path) -> None:
    write_image(root / "a.tif")
    write_labels(root / "a_masks.png", LABELS)


def aperio(root: Path) -> None:
    write_image(root / "Tissue Images/a.tif")
    vertices = "".join(f"<Vertex X='{x}' Y='{y}'/>" for x, y in corners(2, 3, 8, 9))
    regions = f"<Regions><Region><Vertices>{vertices}</Vertices></Region></Regions>"
    (root / "Annotations").mkdir()
    (root / "Annotations/a.xml").write_text(f"<Annotations><Annotation>{regions}</Annotation></Annotations>")


def geojson(root: Path) -> None:
    write_image(root / "a.tif")
    geometry = {"type": "Polygon", "coordinates": [corners(2, 3, 8, 9)]}
    (root / "a_nuclei.geojson").write_text(json.dumps([{"type": "Feature", "geometry": geometry, "properties": {}}]))


def labelme(root: Path) -> None:
    write_image(root / "a.png")
    shape = {"label": "x", "points": corners(2, 3, 8, 9), "shape_type": "polygon"}
    (root / "a.json").write_text(json.dumps({"shapes": [shape], "imagePath": "a.png"}))


def via(root: Path) -> None:
    write_image(root / "a.png")
    shape = {"name": "rect", "x": 2, "y": 2, "width": 5, "height": 5}
    regions = [{"shape_attributes": shape, "region_attributes": {}}]
    (root / "via_region_data.json").write_text(json.dumps({"a.png1": {"filename": "a.png", "regions": regions}}))


def pannuke(root: Path) -> None:
    for name, channels in (("images", 3), ("masks", 6)):
        folder = root / f"Fold 1/{name}/fold1"
        folder.mkdir(parents=True)
        array = np.zeros((2, *SHAPE, channels))
        array[..., 0] = LABELS
        np.save(folder / f"{name}.npy", array)


def conic(root: Path) -> None:
    for name, channels in (("images", 3), ("labels", 2)):
        array = np.zeros((2, *SHAPE, channels), np.uint8)
        array[..., 0] = LABELS
        np.save(root / f"{name}.npy", array)
    (root / "patch_info.csv").write_text("patch_info\na-0\na-1\n")


def matlab(root: Path) -> None:
    write_image(root / "Images/a.png")
    (root / "Labels").mkdir()
    savemat(root / "Labels/a.mat", {"inst_map": LABELS})


def nuinsseg(root: Path) -> None:
    write_image(root / "human liver/tissue images/a.png")
    write_labels(root / "human liver/label masks modify/a.tif", LABELS)
    write_labels(root / "human liver/label masks/a.tif", LABELS)


def cryonuseg(root: Path) -> None:
    write_image(root / "tissue images/a.tif")
    write_labels(root / "Annotator 1 (biologist)/label masks modify/a.tif", LABELS)


def tnbc(root: Path) -> None:
    write_image(root / "Slide_01/01_1.png")
    write_labels(root / "GT_01/01_1.png", (LABELS > 0).astype(np.uint8) * 255)


def vrdl2025(root: Path) -> None:
    write_image(root / "train/0a1b/image.tif")
    write_labels(root / "train/0a1b/class2.tif", LABELS)


LAYOUTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "folders": (folders, r"one folder per image: 2 images, \d+ mask files"),
    "coco": (coco, "COCO JSON: 1 image, 1 annotation"),
    "label_maps": (label_maps, "label maps: 2 images, 2 label maps"),
    "aperio": (aperio, "MoNuSeg or MoNuSAC: 1 image, 1 XML file"),
    "geojson": (geojson, "QuPath GeoJSON: 1 image, 1 GeoJSON file"),
    "labelme": (labelme, "LabelMe: 1 image, 1 JSON file"),
    "via": (via, "VGG Image Annotator: 1 image, 1 JSON file"),
    "pannuke": (pannuke, "PanNuke: 2 images, 1 array of masks"),
    "conic": (conic, "CoNIC: 2 images"),
    "matlab": (matlab, "CoNSeP, Kumar or CPM: 1 image, 1 MATLAB file"),
    "nuinsseg": (nuinsseg, "NuInsSeg: 1 image, 1 label map"),
    "cryonuseg": (cryonuseg, "CryoNuSeg: 1 image, 1 rater"),
    "tnbc": (tnbc, "TNBC: 1 image, 1 semantic mask"),
    "vrdl2025": (vrdl2025, "VRDL homework 2025: 1 image, 1 label map"),
    "cellpose": (cellpose, "Cellpose: 1 image, 1 mask file"),
}


def test_every_reader_is_here() -> None:
    assert set(LAYOUTS) == set(READERS) - {"auto", "corrections", "demo", "mixed"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_recognized_by_its_own_reader_alone(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, sentence = LAYOUTS[name]
    write(tmp_path)
    (tmp_path / "readme.txt").write_text("notes")
    reader = AutoReader(root=tmp_path, bits=12).resolve()
    assert type(reader) is READERS[name]
    assert reader == READERS[name](root=tmp_path, bits=12)
    err = capsys.readouterr().err
    assert err.startswith("Found ")
    assert re.search(sentence, err), err
    records = reader.records()
    assert records
    for record in records:
        assert len(reader.read(record))
        assert len(reader.key(record)) == 64
    tree = Tree.of(tmp_path)
    assert [key for key, other in READERS.items() if (found := other.recognize(tree)) and not found.missing] == [name]
    assert len(tree.opened) <= MOST_OPENED


def no_masks(root: Path) -> None:
    write_image(root / "a/images/a.png")
    write_image(root / "b/images/b.png")


def no_images(root: Path) -> None:
    coco(root)
    (root / "images/a.png").unlink()


def no_pairs(root: Path) -> None:
    write_image(root / "images/a.png")
    write_image(root / "images/b.png")
    write_labels(root / "masks/c.png", LABELS)


def masks_alone(root: Path) -> None:
    write_labels(root / "a_masks.png", LABELS)


def without(layout: Callable[[Path], None], name: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        layout(root)
        next(path for path in Tree.of(root).files if path.as_posix().endswith(name)).unlink()

    return write


def without_images(layout: Callable[[Path], None]) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        layout(root)
        for path in Tree.of(root).images():
            path.unlink()

    return write


def one_level_down(root: Path) -> None:
    folders(root / "stage1_train")


NEAR_MISSES: list[tuple[Callable[[Path], None], str]] = [
    (no_masks, "one folder per image: 2 images, 0 mask files, but without mask files in NAME/masks"),
    (
        one_level_down,
        "one folder per image: 2 images,",
    ),
    (no_images, "COCO JSON: 1 image, 1 annotation, but without image files beside the JSON file"),
    (no_pairs, "label maps: 2 images, 0 label maps, but without label maps of the images' names"),
    (without_images(aperio), "MoNuSeg or MoNuSAC: 0 images, 1 XML file, but without images of the XML files' names"),
    (
        without_images(geojson),
        "QuPath GeoJSON: 0 images, 1 GeoJSON file, but without images of the GeoJSON",
    ),
    (without_images(labelme), "LabelMe: 0 images, 1 JSON file, but without images of the JSON files' names"),
    (without_images(via), "VGG Image Annotator: 1 image, 1 JSON file, but without image files of the names that the"),
    (without(pannuke, "images.npy"), "PanNuke: 2 images, 1 array of masks (the number of images is the first's), but"),
    (without(conic, "images.npy"), "CoNIC: 2 images, but without images.npy beside labels.npy"),
    (without_images(matlab), "CoNSeP, Kumar or CPM: 0 images, 1 MATLAB file, but without images of the MATLAB files'"),
    (without(nuinsseg, "a.png"), "NuInsSeg: 0 images, 1 label map, but without images in ORGAN/tissue images"),
    (without(tnbc, "Slide_01/01_1.png"), "TNBC: 0 images, 1 semantic mask, but without images in Slide_NN"),
    (without(vrdl2025, "image.tif"), "VRDL homework 2025: 0 images, 1 label map, but without image.tif beside"),
    (masks_alone, "Cellpose: 0 images, 1 mask file, but without images of the masks' names"),
]


@pytest.mark.parametrize(("write", "sentence"), NEAR_MISSES, ids=lambda value: getattr(value, "__name__", ""))
def test_near_misses_are_named(write: Callable[[Path], None], sentence: str, tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(InputError) as error:
        AutoReader(root=tmp_path).resolve()
    assert f"is not in a known layout. What comes nearest: {sentence}" in str(error.value)


def test_nothing_and_several_layouts(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"1 file is not in a known layout\. Known are aperio, cellpose, coco,"):
        AutoReader(root=tmp_path).resolve()
    with pytest.raises(InputError, match="does not exist"):
        AutoReader(root=tmp_path / "absent").resolve()
    coco(tmp_path)
    cellpose(tmp_path)
    with pytest.raises(InputError, match=r"several layouts: cellpose \(.*\); coco \(.*\)\. Choose one"):
        AutoReader(root=tmp_path).resolve()
