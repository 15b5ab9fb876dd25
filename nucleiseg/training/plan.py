"""When checkpoints are written and validated, which of them stay, and the room they take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class CheckpointPlan:
    """The checkpoints of a run.

    Attributes:
        max_steps: the last step, which always has a checkpoint, validated.
        every: steps between two checkpoints.
        validate_every: checkpoints between two that are validated.
        keep: how many of the best by `val/ap50` stay, beside the last; None keeps all.
    """

    max_steps: int
    every: int = 200
    validate_every: int = 1
    keep: int | None = None

    def is_checkpoint(self, step: int) -> bool:
        """Return whether a checkpoint is written when `step` steps are done."""
        return step % self.every == 0 or step == self.max_steps

    def is_validated(self, step: int) -> bool:
        """Return whether the checkpoint of that step is validated."""
        return step == self.max_steps or step // self.every % self.validate_every == 0

    def kept(self, rows: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
        """Return the rows of `index.csv` that stay, in their order.

        A checkpoint that was not validated ranks below those that were; of equals the later one stays.
        """
        if self.keep is None:
            return list(rows)
        ranked = sorted(rows, key=lambda row: (float(row.get("val/ap50") or -1), int(row["step"])))
        best = ranked[-self.keep :]
        return [row for row in rows if row in best or row is rows[-1]]

    def count(self) -> int:
        """Return how many step checkpoints the folder holds at the end, at most."""
        written = -(-self.max_steps // self.every)
        return written if self.keep is None else min(written, self.keep + 1)


def estimated_bytes(network: nn.Module, plan: CheckpointPlan, optimizer_states: int = 1) -> int:
    """Return the bytes that the checkpoints of a run will take.

    Args:
        network: its parameters and buffers are in each of them.
        plan: how many there are.
        optimizer_states: tensors of a parameter's size that the optimiser keeps (SGD with momentum 1, AdamW 2), in
            `last.ckpt` alone. While that file is replaced, the old and the new one exist.
    """
    weights = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    trained = sum(
        parameter.numel() * parameter.element_size() for parameter in network.parameters() if parameter.requires_grad
    )
    return plan.count() * weights + 2 * (weights + optimizer_states * trained)
