"""Readers of published data sets: PanNuke, CoNIC, MATLAB files, NuInsSeg, CryoNuSeg, TNBC, the homework of 2025."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from reader_files import SHAPE, assert_masks, box, label_map, masks_of, read_all, write_image, write_labels
from scipy.io import savemat

from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.data.readers.arrays import ConicReader, PanNukeReader
from nucleiseg.data.readers.base import Reader
from nucleiseg.data.readers.matlab import MatlabReader
from nucleiseg.data.readers.published import ClassFilesReader, CryoNuSegReader, NuInsSegReader, TnbcReader
from nucleiseg.data.settings import DataSettings
from nucleiseg.errors import InputError
from nucleiseg.structures import NucleusClass
from nucleiseg.transforms.preprocessing import Preprocessing

FIRST, SECOND, THIRD = box(2, 3, 8, 9), box(12, 15, 20, 24), box(2, 12, 8, 20)
LABELS = label_map(FIRST, SECOND, THIRD)


def noise(count: int, dtype: type) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE, 3)).astype(dtype)


def pannuke(root: Path, fold: int = 1) -> PanNukeReader:
    images, masks = root / f"Fold {fold}/images/fold{fold}", root / f"Fold {fold}/masks/fold{fold}"
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    array = np.zeros((2, *SHAPE, 6))
    array[0, ..., 0] = label_map(FIRST, SECOND, start=7)
    array[0, ..., 4] = label_map(box(4, 5, 10, 11), start=7)  # the same number, over the first of channel 0
    array[1, ..., 1] = label_map(THIRD)
    np.save(images / "images.npy", noise(2, np.float64))
    np.save(images / "types.npy", np.array(["Breast", object()]), allow_pickle=True)  # never opened
    np.save(masks / "masks.npy", array)
    return PanNukeReader(root=root)


def test_pannuke_channels_and_numbers_are_nuclei(tmp_path: Path) -> None:
    reader = pannuke(tmp_path)
    pannuke(tmp_path, 2)
    samples = read_all(reader)
    assert list(samples) == ["fold1_0000", "fold1_0001", "fold2_0000", "fold2_0001"]
    assert_masks(samples["fold1_0000"], [FIRST, SECOND, box(4, 5, 10, 11)])
    assert len(samples["fold1_0000"].layers) == 2
    np.testing.assert_array_equal(samples["fold1_0000"].image, noise(2, np.uint8)[0])
    first, second, *_ = reader.records()
    assert reader.names(first) == ("Neoplastic", "Neoplastic", "Epithelial")
    assert reader.names(second) == ("Inflammatory",)
    assert samples["fold1_0000"].classes == (NucleusClass("Epithelial", 5), NucleusClass("Neoplastic", 1))
    assert len({reader.key(record) for record in reader.records()}) == 4


def conic(root: Path) -> ConicReader:
    labels = np.zeros((4, *SHAPE, 2), np.int32)
    labels[..., 0] = label_map(FIRST, SECOND, start=3)
    labels[..., 1] = 2 * FIRST + 6 * SECOND
    np.save(root / "images.npy", noise(4, np.uint8))
    np.save(root / "labels.npy", labels)
    (root / "patch_info.csv").write_text("patch_info\nconsep_1-0000\nconsep_1-0001\ncrag_2-0000\ncrag_2-0001\n")
    return ConicReader(root=root)


def test_conic_patches_of_one_image_stay_together(tmp_path: Path) -> None:
    reader = conic(tmp_path)
    samples = read_all(reader)
    assert list(samples) == ["consep_1-0000", "consep_1-0001", "crag_2-0000", "crag_2-0001"]
    for sample in samples.values():
        assert_masks(sample, [FIRST, SECOND])
    assert reader.names(reader.records()[0]) == ("Epithelial", "Connective")
    assert sample.classes == (NucleusClass("Connective", 6), NucleusClass("Epithelial", 2))
    settings = DataSettings(val=0.5, cache_dir="none")
    data = NucleiDataModule(reader, Preprocessing(), Preprocessing(), settings)
    data.setup()
    assert (data.class_names, data.classes.category_ids) == (("Epithelial", "Connective"), (2, 6))
    assert data.load(reader.records()[0]).labels.tolist() == [1, 2]
    assert {name.partition("-")[0] for name in data.split.train} | {"consep_1", "crag_2"} == {"consep_1", "crag_2"}
    assert len({name.partition("-")[0] for name in data.split.val}) == 1
    (tmp_path / "patch_info.csv").unlink()
    assert reader.default_group is None
    assert [record.name for record in reader.records()] == [f"patch_{index:04d}" for index in range(4)]


def test_arrays_that_do_not_fit_are_named(tmp_path: Path) -> None:
    reader = conic(tmp_path)
    (tmp_path / "patch_info.csv").write_text("patch_info\nconsep_1-0000\n")
    with pytest.raises(InputError, match=r"patch_info\.csv names 1 patches, .* holds 4"):
        reader.records()
    np.save(tmp_path / "images.npy", noise(3, np.uint8))
    with pytest.raises(InputError, match="not one set"):
        reader.records()
    np.save(tmp_path / "labels.npy", np.zeros((3, 4)))
    with pytest.raises(InputError, match=r"labels\.npy is not an array of numbers of shape"):
        reader.records()
    np.save(tmp_path / "labels.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match=r"labels\.npy is not an array of numbers"):
        reader.records()


def matlab(root: Path, folder: str = "Images", **variables: object) -> MatlabReader:
    write_image(root / folder / "a.png")
    (root / "Labels").mkdir(exist_ok=True)
    savemat(root / "Labels/a.mat", variables, do_compression=True)
    return MatlabReader(root=root)


def test_lizard_classes_belong_to_ids_not_to_ranks(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.int32)
    for number, mask in ((9, FIRST), (4, SECOND), (70_000, THIRD)):
        labels[mask] = number
    ids, classes = np.array([[70_000], [9], [4]]), np.array([[3], [1], [9]])
    reader = matlab(tmp_path, "lizard_images1/Lizard_Images1", **{"inst_map": labels, "id": ids, "class": classes})
    assert_masks(read_all(reader)["a"], [FIRST, SECOND, THIRD])
    assert reader.names(reader.records()[0]) == ("9", "Neutrophil", "Lymphocyte")  # in the order of 4, 9, 70000


def test_consep_types_are_those_of_the_pixels(tmp_path: Path) -> None:
    types = 2 * FIRST + 5 * SECOND
    types[2, 3] = 4  # a stray pixel
    reader = matlab(tmp_path, inst_map=LABELS.astype(float), type_map=types.astype(float))
    assert_masks(read_all(reader)["a"], [FIRST, SECOND, THIRD])
    assert reader.names(reader.records()[0]) == ("inflammatory", "fibroblast", "")


def test_types_of_nuclei_belong_to_the_numbers_in_order(tmp_path: Path) -> None:
    reader = matlab(tmp_path, inst_map=label_map(FIRST, SECOND, start=7), inst_type=[[5], [2]])
    assert reader.names(reader.records()[0]) == ("fibroblast", "inflammatory")
    classes = reader.read(reader.records()[0]).classes
    assert classes == (NucleusClass("fibroblast", 5), NucleusClass("inflammatory", 2))


def test_kumar_has_no_classes(tmp_path: Path) -> None:
    reader = matlab(tmp_path, inst_map=LABELS)
    sample = read_all(reader)["a"]
    assert_masks(sample, [FIRST, SECOND, THIRD])
    assert sample.noticed == {}


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"instances": LABELS}, "has no variable inst_map; it has instances"),
        ({"inst_map": LABELS[:5]}, "an inst_map of 32 x 5 pixels, its image 32 x 24"),
        ({"inst_map": LABELS + 0.5}, "is not a label map"),
        ({"inst_map": np.array([["x"]], object)}, "is not a label map"),
        ({"inst_map": LABELS, "type_map": LABELS[:5]}, "a type_map of another size"),
        ({"inst_map": LABELS, "inst_type": [1, 2]}, "has 2 values of inst_type for 3 nuclei"),
        ({"inst_map": LABELS, "id": [1, 2], "class": [1]}, "has 2 ids and 1 classes"),
    ],
)
def test_matlab_files_that_are_not_sound_are_named(tmp_path: Path, variables: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_all(matlab(tmp_path, **variables))


@pytest.mark.parametrize("content", [b"MATLAB 7.3 MAT-file, Platform", b"", b"MATLAB 5.0 MAT-file" + bytes(200)])
def test_other_matlab_files_are_named(tmp_path: Path, content: bytes) -> None:
    reader = matlab(tmp_path, inst_map=LABELS)
    (tmp_path / "Labels/a.mat").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mat (is a MATLAB file of version 7\.3|cannot be read|has no variable)"):
        read_all(reader)


def test_a_matlab_file_that_would_unpack_to_gigabytes_is_refused(tmp_path: Path) -> None:
    reader = matlab(tmp_path, inst_map=np.zeros((15_000, 12_000), bool))
    assert (tmp_path / "Labels/a.mat").stat().st_size < 1_000_000
    with pytest.raises(InputError, match="variables of more than 178,956,970 values"):
        read_all(reader)


def test_nuinsseg_reads_the_modified_label_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for organ in ("human liver", "mouse heart"):
        write_image(tmp_path / organ / "tissue images/x_01.png")
        write_labels(tmp_path / organ / "label masks modify/x_01.tif", LABELS)
        write_labels(tmp_path / organ / "label masks/x_01.tif", label_map(box(0, 0, 24, 32)))
    write_image(tmp_path / "human liver/tissue images/x_02.png")
    write_labels(tmp_path / "human liver/vague areas/x_01.png", (box(20, 25, 24, 30) * 255).astype(np.uint8))
    samples = read_all(NuInsSegReader(root=tmp_path))
    liver, heart = (f"{organ}_label masks modify_x_01" for organ in ("human liver", "mouse heart"))
    assert list(samples) == [liver, heart]
    for sample in samples.values():
        assert_masks(sample, [FIRST, SECOND, THIRD])
    assert samples[liver].ignore is not None
    assert (samples[liver].ignore.plane == box(20, 25, 24, 30)).all()
    assert samples[heart].ignore is None
    assert (samples[liver].noticed, samples[heart].noticed) == ({"ignored": 1}, {})
    assert "Skipped 1 image without label map: x_02.png." in capsys.readouterr().err


def test_cryonuseg_has_several_raters(tmp_path: Path) -> None:
    root = tmp_path / "CryoNuSeg"
    write_image(root / "tissue images/h_1.tif")
    first, second = "Annotator 1 (biologist)", "Annotator 2 (bioinformatician)"
    write_labels(root / first / "label masks modify/h_1.tif", LABELS)
    write_labels(root / first / "label masks/h_1.tif", LABELS)
    nested = root / second / second / "label masks modify/h_1.tif"
    write_labels(nested, label_map(FIRST))
    assert_masks(read_all(CryoNuSegReader(root=root))["h_1"], [FIRST, SECOND, THIRD])
    other = CryoNuSegReader(root=root, rater=second)
    assert_masks(read_all(other)["h_1"], [FIRST])
    with pytest.raises(InputError, match=r"no rater me; it has Annotator 1 \(biologist\), Annotator 2"):
        CryoNuSegReader(root=root, rater="me").records()


def test_tnbc_counts_regions_that_look_like_several_nuclei(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:64, :96]

    def disc(y: int, x: int) -> np.ndarray:
        return (rows - y) ** 2 + (columns - x) ** 2 <= 81

    alone, fused = disc(14, 14), disc(40, 20) | disc(40, 36)
    ellipse = ((rows - 32) / 22) ** 2 + ((columns - 75) / 8) ** 2 <= 1
    for slide in ("01", "02"):
        image = write_image(tmp_path / f"Slide_{slide}/{slide}_1.png", (64, 96))
        Image.open(image).convert("RGBA").save(image)
        write_labels(tmp_path / f"GT_{slide}/{slide}_1.png", ((alone | fused | ellipse) * 255).astype(np.uint8))
    samples = read_all(TnbcReader(root=tmp_path))
    assert list(samples) == ["01_01_1", "02_02_1"]
    for sample in samples.values():
        assert_masks(sample, [alone, fused, ellipse])
        assert sample.noticed == {"fused": 1}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_the_homework_of_2025_has_a_label_map_for_each_class(tmp_path: Path, dtype: type) -> None:
    folder = tmp_path / "train/0a1b"
    write_image(folder / "image.tif")
    tifffile.imwrite(folder / "class1.tif", label_map(FIRST, SECOND).astype(dtype))
    tifffile.imwrite(folder / "class4.tif", label_map(box(4, 5, 10, 11)).astype(dtype))
    write_image(tmp_path / "test_release/x.tif")
    reader = ClassFilesReader(root=tmp_path)
    sample = read_all(reader)["0a1b"]
    assert_masks(sample, [FIRST, SECOND, box(4, 5, 10, 11)])
    assert [mask.sum() for mask in masks_of(sample)] == [FIRST.sum(), SECOND.sum(), 36]
    assert reader.names(reader.records()[0]) == ("class1", "class1", "class4")
    classes = reader.read(reader.records()[0]).classes
    assert classes == (NucleusClass("class1", 1), NucleusClass("class4", 4))


@pytest.mark.parametrize("reader", [NuInsSegReader, CryoNuSegReader, TnbcReader, ClassFilesReader, PanNukeReader])
def test_an_empty_or_absent_root_is_refused(tmp_path: Path, reader: type[Reader]) -> None:
    with pytest.raises(InputError, match=r"holds nothing to read: it should have"):
        reader.from_dict({"root": str(tmp_path)}).records()
    with pytest.raises(InputError, match="does not exist"):
        reader.from_dict({"root": str(tmp_path / "absent")}).records()


def test_a_label_map_of_another_size_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "a/image.tif")
    tifffile.imwrite(tmp_path / "a/class1.tif", LABELS[:5])
    with pytest.raises(InputError, match=r"class1\.tif is 32 x 5 pixels and its image 32 x 24"):
        read_all(ClassFilesReader(root=tmp_path))
    shutil.rmtree(tmp_path / "a")
    write_image(tmp_path / "Slide_01/1.png")
    cv2.imwrite(str(write_image(tmp_path / "GT_01/1.png", (5, 5))), np.ones((5, 5), np.uint8))
    with pytest.raises(InputError, match=r"1\.png is 5 x 5 pixels and its image 32 x 24"):
        read_all(TnbcReader(root=tmp_path))
