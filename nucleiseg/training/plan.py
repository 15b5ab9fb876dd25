"""Plan the checkpoints of a run: when they are written and validated, which stay, and their size on the disk."""

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


def step_bytes(network: nn.Module) -> int:
    """Return the bytes of a step checkpoint: parameters and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


def last_bytes(network: nn.Module, optimizer_states: int) -> int:
    """Return the bytes of `last.ckpt`: a step checkpoint, and what the optimizer keeps.

    Args:
        network: what is trained.
        optimizer_states: tensors of a trained parameter's size that the optimizer keeps (SGD with momentum 1, AdamW 2).
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return step_bytes(network) + optimizer_states * sum(tensor.numel() * tensor.element_size() for tensor in trained)
