"""Studies are options of the group `experiment`, whatever else lies in their folders."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from nucleiseg.cli.studies import register_studies


def test_a_study_overrides_groups_and_keys(tmp_path: Path) -> None:
    study = tmp_path / "experiments" / "small_study"
    study.mkdir(parents=True)
    (study / "README.md").write_text("Why.")
    (study / "experiment.yaml").write_text("defaults:\n  - override /colour: blue\nseed: 7\n")
    conf = tmp_path / "conf"
    (conf / "colour").mkdir(parents=True)
    for name in ("red", "blue"):
        (conf / "colour" / f"{name}.yaml").write_text(f"name: {name}\n")
    (conf / "train.yaml").write_text("defaults:\n  - _self_\n  - colour: red\n  - experiment: null\nseed: 0\n")

    assert register_studies(tmp_path / "experiments") == ["small_study"]
    with initialize_config_dir(str(conf), version_base="1.3"):
        assert compose("train").colour.name == "red"
        chosen = compose("train", ["experiment=small_study", "+extra=1"])
        assert (chosen.colour.name, chosen.seed) == ("blue", 7)
        with pytest.raises(HydraException, match="small_study"):
            compose("train", ["experiment=no_such_study"])
