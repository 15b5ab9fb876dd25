"""The cards of conf/debug do what they are for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from nucleiseg.cli import check
from nucleiseg.cli.train import train
from nucleiseg.errors import InputError
from nucleiseg.run_tables import read_index, read_metrics

Composed = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a step takes is not measured."""
    monkeypatch.setattr(check, "probe_step", lambda *_: 1.0)


def test_default_goes_through_everything_in_a_few_steps(composed: Composed, tiny: list[str], tmp_path: Path) -> None:
    train(composed("train", "debug=default", *tiny), tmp_path)
    assert [row["step"] for row in read_metrics(tmp_path)] == ["1", "2", "3", "4"]
    assert [row["step"] for row in read_index(tmp_path)] == ["2", "4"]


def test_overfit_learns_one_image(
    composed: Composed, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = [key for key in tiny if not key.startswith(("aug.crop", "data.val"))]
    train(composed("train", "debug=overfit", "optim=adamw", "optim.lr=1e-3", *short, "trainer.max_steps=30"), tmp_path)
    assert "Overfitting: training on demo_000 alone." in capsys.readouterr().err
    losses = [float(row["train/loss"]) for row in read_metrics(tmp_path)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_profiler_writes_its_report_into_the_run(composed: Composed, tiny: list[str], tmp_path: Path) -> None:
    short = ["trainer.max_steps=2", "checkpoint.every=2", "data.val=none"]
    train(composed("train", "debug=profiler", *tiny, *short), tmp_path)
    assert "run_training_batch" in (tmp_path / "fit-profile.txt").read_text()


def test_anomaly_names_the_operation(
    composed: Composed, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss(logits: Tensor, *_: object) -> Tensor:
        return (logits.sum() * 0).sqrt()  # 0, whose gradient is infinite

    monkeypatch.setattr("nucleiseg.models.roi_heads.mask_loss", loss)
    config = composed("train", "debug=anomaly", *tiny, "trainer.max_steps=2")
    with (
        pytest.warns(UserWarning, match=r"Error detected in MulBackward0"),
        pytest.raises(InputError, match=r"Mul returned NaN as a gradient"),
    ):
        train(config, tmp_path)
