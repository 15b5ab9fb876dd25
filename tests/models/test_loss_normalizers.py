"""Losses of a step that several processes share: together they are those of one process with the whole batch."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
import torch.distributed as dist
from small_networks import image, small_network, target
from torch import Tensor

from nucleiseg.models.loss_normalizers import loss_normalizers
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.structures import Target

CPU = torch.device("cpu")
IMAGES = [(image(seed=1), target(1, seed=1)), (image(seed=2), target(60, seed=2))]
"""Two images of one size, whose numbers of sampled and of foreground RoIs differ."""


class Ranks:
    """Two threads that stand for two processes: what one adds to an all-reduce, the other one gets.

    Attributes:
        reductions: how many all-reduces there were.
        given: what each thread gave to each of them.
    """

    def __init__(self) -> None:
        self.reductions = 0
        self.given: list[Tensor] = []
        self._met = Barrier(2, timeout=300)

    def all_reduce(self, tensor: Tensor) -> None:
        """Replace the tensor by the sum over both threads."""
        self.given.append(tensor.clone())
        if self._met.wait() == 0:
            self.reductions += 1
        tensor.copy_(self.given[-1] + self.given[-2])
        self._met.wait()

    def run(self, *works: Callable[[], dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Run each work in a thread of its own."""
        with ThreadPoolExecutor(len(works)) as threads:
            return [future.result() for future in [threads.submit(work) for work in works]]


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Ranks:
    two = Ranks()
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", two.all_reduce)
    return two


def train(network: MaskRCNN, samples: Sequence[tuple[Tensor, Target]]) -> dict[str, Tensor]:
    """Return losses and gradients of a step, by name."""
    losses = network(*map(list, zip(*samples, strict=True)))
    torch.stack(list(losses.values())).sum().backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return {name: loss.detach() for name, loss in losses.items()} | gradients


def test_one_process_divides_by_its_own_counts() -> None:
    assert loss_normalizers((7, 0), CPU, training=True) == [7, 1]


def test_ranks_divide_by_the_mean_of_their_counts(ranks: Ranks) -> None:
    """The example of the module's head; and no foreground anywhere is a whole batch without."""
    works = [lambda c=c: dict(enumerate(loss_normalizers((c, 0), CPU, training=True))) for c in (10, 2)]
    for found in ranks.run(*works):
        assert found == {0: 6.0, 1: 0.5}
    assert ranks.reductions == 1


@pytest.mark.usefixtures("ranks")
def test_validation_asks_no_other_rank() -> None:
    """It would wait forever: ranks validate different numbers of images."""
    assert loss_normalizers((7, 0), CPU, training=False) == [7, 1]
    network = small_network(numerics="torchvision").train()
    assert network.validation_losses(*map(list, zip(IMAGES[0], strict=True)))["loss_cls"] > 0


@pytest.mark.parametrize(
    ("family", "numerics", "reductions"),
    [("fpn", "detectron2", 1), ("c4", "detectron2", 1), ("fpn", "torchvision", 2)],
)
@pytest.mark.parametrize("second", [IMAGES[1], (image(seed=2), target(0, seed=2))], ids=["dense", "empty"])
def test_the_mean_of_two_ranks_is_one_process_with_both_images(
    family: str, numerics: str, reductions: int, second: tuple[Tensor, Target], ranks: Ranks
) -> None:
    """Losses and gradients, to the rounding of sums; also where a rank has no foreground."""
    first = IMAGES[0]
    networks = [small_network(family, numerics=numerics).train() for _ in range(3)]
    with pytest.MonkeyPatch.context() as alone:
        alone.setattr(dist, "is_initialized", lambda: False)
        whole = train(networks[2], [first, second])
    one, other = ranks.run(lambda: train(networks[0], [first]), lambda: train(networks[1], [second]))
    assert ranks.reductions == reductions
    assert one.keys() == other.keys() == whole.keys()
    for name, expected in whole.items():
        torch.testing.assert_close((one[name] + other[name]) / 2, expected, rtol=1e-4, atol=1e-5, msg=name)
    assert not torch.equal(*ranks.given[-2:]), "the ranks have the same counts, with which nothing is shown"
