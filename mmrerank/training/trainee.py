"""What a recipe trains: a language model behind a backend, or one of the networks of `training/networks/`.

    samples --collator--> batch --forward--> tensors by the names that `losses` has --loss--> weights --save--> what a reranker loads

A network of its own is one module there, whose name is the recipe's `network` and that of the reranker which loads what it saves:

    build(model, root, seed) -> Trainee     base and options of [model]; the base lies below root, or has a name on the hub
"""

from __future__ import annotations

import hashlib
import pkgutil
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

from mmrerank.backends import open_backend
from mmrerank.errors import UnknownName
from mmrerank.training import networks
from mmrerank.training.collate import Sample, trainable
from mmrerank.training.recipe import Model, Stage

Tensors: TypeAlias = Mapping[str, Tensor | None]
Collated: TypeAlias = Callable[[Sequence[Sample]], Any]


class Trainee(Protocol):
    """A torch module that `train_stage` can train."""

    network: Any  # the module whose weights they are

    @property
    def origin(self) -> str:
        """What it began as: a folder, or a name on the hub."""
        ...

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that are trained, by name."""
        ...

    def collator(self, stage: Stage) -> Collated:
        """What makes one batch of the samples of a step.

        Raises:
            InputError: the stage asks for what this network cannot do.
        """
        ...

    def __call__(self, batch: Any, wanted: Collection[str] = ()) -> Tensors:
        """Tensors by the names that losses have for them.

        Args:
            wanted: names that the loss takes; what costs a pass of its own is given where it is among them.
        """
        ...

    def save(self, folder: Path) -> None:
        """Writes what a reranker loads."""
        ...


@runtime_checkable
class StagedTrainee(Protocol):
    """A trainee that does something of its own before the first step of a stage and after its last."""

    def begin(self, stage: Stage, samples: Sequence[Sample], *, resumes: bool) -> None:
        """Makes ready for a stage.

        Args:
            samples: what the stage sees, in its order.
            resumes: whether the stage goes on from a checkpoint, whose weights are put in place next.
        """
        ...

    def finish(self, stage: Stage, samples: Sequence[Sample]) -> None:
        """Does what follows the last step, before the weights of the stage are saved."""
        ...


def names() -> list[str]:
    """The networks of their own."""
    return sorted(module.name for module in pkgutil.iter_modules(networks.__path__) if not module.name.startswith("_"))


def check_network(name: str) -> None:
    """UnknownName for a network that there is none of."""
    if name not in names():
        raise UnknownName.among("network", name, names())


def open_trainee(model: Model, backend: str, root: Path, seed: int) -> Trainee:
    """What a recipe trains, with the weights it begins with.

    Args:
        backend: of a language model; "" where the recipe names a network.
        root: folder of the data.

    Raises:
        InputError: the backend is no model in this process, or as of the network.
        UnknownName: there is no such network.
    """
    if model.network:
        check_network(model.network)
        trainee: Trainee = import_module(f"{networks.__name__}.{model.network}").build(model, root, seed)
        return trainee
    from mmrerank.training.network import Student

    return Student(trainable(open_backend(backend, cache=None)), model, seed=seed)


def weights_hash(trainee: Trainee) -> str:
    """16 hex digits of all weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(trainee.network.state_dict().items()):
        digest.update(name.encode() + weight.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()[:16]
