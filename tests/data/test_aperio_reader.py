"""The reader `aperio`: every nucleus of MoNuSeg's and MoNuSAC's XML, the first one too."""

from pathlib import Path

import numpy as np
import pytest
from reader_files import SHAPE, assert_masks, box, corners, masks_of, read_all, write_image

from nucleiseg.data.readers.aperio import AperioReader
from nucleiseg.errors import InputError

Points = list[list[float]]


def layer(regions: list[Points], attribute: str = "", name: str = "") -> str:
    listed = "".join(
        f"<Region Id='{number}' Type='0'><Vertices>"
        + "".join(f"<Vertex X='{x}' Y='{y}' Z='0'/>" for x, y in points)
        + "</Vertices></Region>"
        for number, points in enumerate(regions, 1)
    )
    attributes = f"<Attributes><Attribute Name='{attribute}' Id='0' Value=''/></Attributes>"
    listed = f"<Regions><RegionAttributeHeaders/>{listed}</Regions>"
    return f"<Annotation Id='1' Name='{name}'>{attributes}{listed}</Annotation>"


def write(path: Path, *layers: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<Annotations MicronsPerPixel='0.252'>{''.join(layers)}</Annotations>")


def test_monuseg_all_nuclei_of_all_layers_the_first_too(tmp_path: Path) -> None:
    write_image(tmp_path / "Tissue Images/TCGA-A7-A13E-01Z-00-DX1.tif")
    boxes = [(2, 3, 8, 9), (10, 3, 16, 9), (2, 12, 8, 20)]
    xml = tmp_path / "Annotations/TCGA-A7-A13E-01Z-00-DX1.xml"
    write(xml, layer([corners(*b) for b in boxes[:2]]), layer([corners(*boxes[2])]), layer([]))
    (sample,) = read_all(AperioReader(root=tmp_path)).values()
    assert_masks(sample, [box(*b) for b in boxes])
    assert sample.noticed == {}


def test_outlines_as_people_draw_them(tmp_path: Path) -> None:
    """Overlapping, nested, self-crossing, of fewer than three points, beyond the image, subpixel."""
    write_image(tmp_path / "a.tif")
    regions = [
        corners(2, 2, 10, 10),
        corners(4, 4, 8, 8),  # nested in the first
        corners(6, 6, 14, 14),  # overlaps both
        [[20, 2.2], [28, 9.8], [28, 2.2], [20, 9.8]],  # crosses itself
        [[1, 1], [5, 5]],
        [[3, 3]],
        corners(18, 26, 40, 60),  # reaches beyond
        corners(-20, 100, -10, 120),  # lies outside
        corners(18.6, 2.6, 22.4, 6.4),
    ]
    write(tmp_path / "a.xml", layer(regions))
    sample = read_all(AperioReader(root=tmp_path))["a"]
    masks = masks_of(sample)
    expected = [box(2, 2, 10, 10), box(4, 4, 8, 8), box(6, 6, 14, 14)]
    np.testing.assert_array_equal(masks[:3], expected)
    assert 20 < masks[3].sum() < 40
    np.testing.assert_array_equal(masks[4:], [box(18, 26, *SHAPE), box(19, 3, 22, 6)])
    assert sample.noticed == {"invalid": 3, "cut": 1}
    assert len(sample.layers) == 3


def test_monusac_layers_are_classes_and_ambiguous_regions_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "TCGA-55"
    write_image(folder / "TCGA-55_1.tif")
    write_image(folder / "TCGA-55_1.png").rename(folder / "TCGA-55_1.svs")
    write_image(folder / "TCGA-55_2.png").rename(folder / "TCGA-55_2.svs")  # without the .tif
    write_image(folder / "TCGA-55_3.tif")
    both = (
        layer([corners(2, 3, 8, 9)], "Epithelial"),
        layer([corners(10, 3, 16, 9)], "Lymphocyte"),
        layer([corners(2, 12, 8, 20)], "Ambiguous"),
    )
    write(folder / "TCGA-55_1.xml", *both)
    write(folder / "TCGA-55_2.xml", *both)
    reader = AperioReader(root=tmp_path)
    first, second = reader.records()
    assert [record.image.suffix for record in (first, second) if record.image] == [".tif", ".svs"]
    assert_masks(reader.read(first), [box(2, 3, 8, 9), box(10, 3, 16, 9)])
    sample = reader.read(second)
    assert sample.noticed == {"ignored": 1}
    assert sample.ignore is not None
    assert (sample.ignore.plane == box(2, 12, 8, 20)).all()
    assert reader.names(first) == ("Epithelial", "Lymphocyte")
    assert [item.name for item in sample.classes] == ["Epithelial", "Lymphocyte"]
    assert sample.labels.tolist() == [1, 2]
    assert "Skipped 1 image without XML file: TCGA-55_3.tif." in capsys.readouterr().err


def test_xml_without_an_image_is_a_problem_of_its_record(tmp_path: Path) -> None:
    write_image(tmp_path / "a.tif")
    for name in "ab":
        write(tmp_path / f"{name}.xml", layer([corners(2, 3, 8, 9)]))
    first, second = AperioReader(root=tmp_path).records()
    assert first.problem is None
    assert "b.xml has no image named b" in str(second.problem)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<Annotations><Annotation>", "cannot be read as XML"),
        ("", "cannot be read as XML"),
        ("<svg/>", "is not from Aperio ImageScope"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><Annotations>&b;</Annotations>", "cannot be read as XML"),
        (f"<Annotations>{layer([[['x', 1], [2, 2], [3, 1]]])}</Annotations>", "region 1 has a vertex without numbers"),  # type: ignore[list-item]
        (f"<Annotations>{layer([[[float('nan'), 1], [2, 2], [3, 1]]])}</Annotations>", "region 1 has 3 vertices"),
        (f"<Annotations>{layer([corners(0, 0, 1e300, 4)])}</Annotations>", "region 1 has 4 vertices"),
        (f"<Annotations>{layer([corners(0, 0, 9, 9)] * 40)}</Annotations>", "overlap one another more than 32 deep"),
    ],
)
def test_xml_that_cannot_be_used_is_named(tmp_path: Path, text: str, words: str) -> None:
    write_image(tmp_path / "a.tif")
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(InputError, match=rf"a\.xml.*{words}"):
        read_all(AperioReader(root=tmp_path))
