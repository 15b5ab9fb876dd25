"""Record failures that happen before the training loop starts in `status.json`."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nucleiseg.errors import InputError
from nucleiseg.progress import echo
from nucleiseg.run_folder import CONFIG, holds_run, known_status
from nucleiseg.training.callbacks.status import INTERRUPTIONS, Status, resume_sentence
from nucleiseg.training.ranks import is_first_rank


@contextmanager
def record_failure(run_dir: Path, max_steps: int) -> Iterator[None]:
    """Record why the body failed, unless that is recorded already, and log how to resume after Ctrl-C.

    Any rank records bad input, since the others then fail for lack of it; the first one records everything else.
    The status of a run that has done steps stays as it is: a resume that could not begin has changed nothing.

    Args:
        run_dir: the run's folder.
        max_steps: `trainer.max_steps`, not yet validated.
    """
    has_steps = holds_run(run_dir)
    before = known_status(run_dir)
    try:
        yield
    except BaseException as error:
        is_recorded_here = is_first_rank() or isinstance(error, InputError)
        if is_recorded_here and not has_steps and run_dir.is_dir() and known_status(run_dir) == before:
            with suppress(OSError):  # a full disk must not hide the error
                Status(run_dir, of=max_steps, every=1).record_failure(error)
        if isinstance(error, INTERRUPTIONS) and (run_dir / CONFIG).exists():
            echo(resume_sentence(run_dir))
        raise
