"""The losses of the steps since the last flush, on the device until they are asked for."""

from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor


class LossBuffer:
    """Collects a row for each step without waiting for the device.

    Args:
        columns: of the losses that `add` gets, in their order.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._batches: list[Tensor] = []
        self._names: list[str] = []
        self._losses: list[Tensor] = []
        self._rows: list[dict[str, float]] = []
        self._images: list[list[str]] = []

    def add(self, losses: Tensor, names: Sequence[str]) -> None:
        """Keep a batch's (1 + L,) losses on their device, and the names of its images."""
        self._batches.append(losses)
        self._names += names

    def close(self, row: dict[str, float]) -> None:
        """End a step: the batches since the last one are its, and `row` what else is known of it."""
        self._losses.append(torch.stack(self._batches).mean(dim=0))
        self._images.append(self._names)
        self._rows.append(row)
        self._batches, self._names = [], []

    def fetch(self, trainer: pl.Trainer) -> tuple[list[dict[str, float]], list[list[str]]]:
        """Empty the buffer with one copy from the device.

        Every rank must call it at the same step.

        Returns:
            A row for each step, its losses as means over all ranks; and the names of its images on this rank.
        """
        rows, self._rows = self._rows, []
        losses, self._losses = self._losses, []
        images, self._images = self._images, []
        if rows:
            means = trainer.strategy.reduce(torch.stack(losses), reduce_op="mean")
            for row, values in zip(rows, means.tolist(), strict=True):
                row.update(zip(self._columns, values, strict=True))
        return rows, images
