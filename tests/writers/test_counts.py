"""counts.csv and the sentence about the limit."""

from pathlib import Path

from nucleiseg.writers.counts import Count, capped_sentence, open_counts


def test_file_has_a_line_an_image(tmp_path: Path) -> None:
    with open_counts(tmp_path / "counts.csv") as add:
        add(Count("a", 1, 12, 0.5, False, (1000, 2000), 0.5))
        add(Count('b, "c"', "two", 500, 0.123456789, True, (9, 9)))
    assert (tmp_path / "counts.csv").read_text() == (
        "image,image_id,count,threshold,capped,um_per_px,nuclei_per_mm2\n"
        'a,1,12,0.5,false,0.5,24.0\n"b, ""c""",two,500,0.123457,true,,\n'
    )


def test_several_classes_have_columns(tmp_path: Path) -> None:
    with open_counts(tmp_path / "counts.csv", ("tumor", "=dead")) as add:
        add(Count("a", 1, 3, 0.5, False, (9, 9), classes={"tumor": 3}))
    header, line = (tmp_path / "counts.csv").read_text().splitlines()
    assert header.endswith(",nuclei_per_mm2,count_tumor,count_=dead")
    assert line == "a,1,3,0.5,false,,,3,0"


def test_sentence_names_the_key_to_raise() -> None:
    assert capped_sentence(500, 500).startswith("500 found, 500 allowed")
    assert "detections=1000" in capped_sentence(500, 500)
