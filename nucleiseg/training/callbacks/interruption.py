"""Handle Ctrl-C and SIGTERM: finish the step, write `last.ckpt`, stop."""

import signal
import threading
from contextlib import suppress
from types import FrameType

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from nucleiseg.progress import echo
from nucleiseg.training.callbacks.checkpoints import Checkpoints
from nucleiseg.training.callbacks.step import StepCallback
from nucleiseg.training.module import NucleiModule


class Interruption(StepCallback, Checkpoint):
    """Stop a run after the step in which it receives Ctrl-C or SIGTERM, with that step in `last.ckpt`.

    A `Checkpoint` to Lightning, so that it acts after the callbacks that write.

    A second signal stops at once. Lightning would stop in the middle of a step after Ctrl-C, and after SIGTERM without
    a checkpoint; its handler also calls a collective operation wherever a process of the run happens to be.

    Args:
        checkpoints: writes `last.ckpt`.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self._signal: int | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over both signals, unless they are ignored; Lightning restores the earlier handlers at its end."""
        self._signal = None
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as in the background, or under nohup
                    signal.signal(number, self._handle)

    def on_step_end(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        """Stop if any rank has received a signal; a step that is validated is stopped after its validation."""
        if not self.checkpoints.awaits_validation:
            self._stop_if_asked(trainer, module, step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop after the validation, whose step `Checkpoints` has written."""
        self._stop_if_asked(trainer, pl_module, trainer.global_step)

    def _stop_if_asked(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        """Save the step and stop; all ranks agree on the step, since they ask each other after each one.

        Raises:
            KeyboardInterrupt: on the first rank, after Ctrl-C.
            SIGTERMException: on the first rank, after SIGTERM.
            SystemExit: on other ranks, with 0: Lightning kills the first rank when another one fails.
        """
        assert isinstance(module, NucleiModule)
        is_asked = trainer.strategy.reduce_boolean_decision(self._signal is not None, all=False)
        if not is_asked or trainer.should_stop:  # the latter: the run ends anyway
            return
        self.checkpoints.save_progress(trainer, module, step)
        if not trainer.is_global_zero:
            raise SystemExit(0)
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SIGTERMException

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            raise KeyboardInterrupt if number == signal.SIGINT else SIGTERMException
        self._signal = number
        with suppress(RuntimeError):  # the signal may have come while something else was printed
            echo("Stopping after this step, which last.ckpt will hold. A second signal (Ctrl-C) stops at once.")
