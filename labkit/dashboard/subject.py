"""What the Look inside page looks at: a model with inputs, built in or the visitor's own."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.recording.batches import size_of
from labkit.workbench.datasets.dataset import Dataset
from labkit.workbench.datasets.load import load
from labkit.workbench.pretrained.load import pretrained
from labkit.workbench.showcase import models

LARGEST = 1000
"""Of a larger test set, the first so many inputs are looked at."""
PRETRAINED = {
    "convolutional network for digits (not trained here)": "digits CNN",
    "ReLU Transformer for T-cell receptors (not trained here)": "t-cell receptors",
    "small language model, Lewis Carroll (not trained here)": "Alice",
    "sentence encoder (not trained here, fetched when first opened)": "sentences",
}
OWN_DATA = ("fashion_mnist", "mnist", "digits")


@dataclass(frozen=True)
class Subject:
    """A model in evaluation with inputs x, their labels (n) if there are any, and their pictures.

    Shapes: x (n, ...), or a mapping of names to such tensors
    """

    name: str
    model: nn.Module
    x: Any
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    images: Callable[[Any], np.ndarray] | None = None
    says: str = ""
    targets: Tensor | None = None
    """What the answers are compared with, where that is not `labels`."""
    texts: Sequence[Sequence[str]] | None = None
    """The tokens of each input, "" where there is padding."""
    loss: Callable[[Any, Any], Tensor] | None = None

    @property
    def batch(self) -> Any:
        """Inputs and what the answers are compared with, as measurements take them."""
        targets = self.labels if self.targets is None else self.targets
        return (self.x,) if targets is None else (self.x, targets)

    @property
    def count(self) -> int:
        """How many inputs there are."""
        return size_of(self.batch)

    def label(self, row: int) -> str:
        """The name of an input's class; empty where it is not known."""
        return "" if self.labels is None else self.named(int(self.labels[row]))

    def named(self, number: int) -> str:
        """The name of a class."""
        return self.classes[number] if number < len(self.classes) else f"class {number}"

    def rows(self, wanted: str = "") -> list[int]:
        """The inputs of this class, or all."""
        everything = range(self.count)
        return [row for row in everything if not wanted or self.label(row) == wanted]


def built_in(name: str) -> Subject:
    """A model by its name: one of the lab's own, trained on the spot, or one that somebody else trained.

    Raises: LabError for an unknown name, and where the files of a model are missing or out of reach.
    """
    known = models()
    if name in PRETRAINED:
        return _pretrained(name)
    if name not in known:
        raise LabError(f'There is no built-in model "{name}"; there is {", ".join([*known, *PRETRAINED])}.')
    model, task = known[name]()
    return with_inputs(name, model, task, "Trained on this machine when it was first opened.")


def built_in_names() -> list[str]:
    """What `built_in` knows: the lab's own models first."""
    return [*models(), *PRETRAINED]


def _pretrained(name: str) -> Subject:
    found = pretrained(PRETRAINED[name])
    pixels = found.images
    pictures = None if pixels is None else (lambda rows: pixels[rows])
    says = f"{found.says} Source: {found.source}."
    classes = tuple(found.classes)
    return Subject(
        name, found.model, found.inputs, found.labels, classes, pictures, says, found.targets, found.texts, found.loss
    )


def own(place: str, data: str = OWN_DATA[0]) -> Subject:
    """The visitor's model: `place` is "path/to/file.py:function".

    The function returns a model, or (model, inputs), (model, inputs, labels) or (model, a labkit data set). With a model
    alone, the built-in data set `data` is used.
    Raises: LabError when there is no such file or function, or when it returns something else.
    """
    made = _make(place)
    model, *rest = made if isinstance(made, tuple) else (made,)
    if not isinstance(model, nn.Module):
        raise LabError(f"{place} should return a torch model (nn.Module), but returned {type(model).__name__}.")
    model = model.eval()
    given = rest[0] if rest else load(data)
    if isinstance(given, Tensor):
        labels = torch.as_tensor(rest[1])[:LARGEST] if len(rest) > 1 else None
        return Subject(
            place, model, given[:LARGEST], labels, _classes(labels), _as_pictures(given), "Your model and inputs."
        )
    return with_inputs(place, model, given, f"Your model, on the test part of {getattr(given, 'name', data)}.")


def with_inputs(name: str, model: nn.Module, data: Any, says: str) -> Subject:
    """A model with the test part of a data set or of a task; flattened where the model wants plain rows of numbers."""
    dataset: Dataset = getattr(data, "dataset", data)
    if not hasattr(dataset, "test_x"):
        raise LabError(f"{name} returned {type(data).__name__} as its inputs; return a tensor or a labkit data set.")
    x, labels = (part[:LARGEST] for part in (dataset.test_x, dataset.test_y))
    pixels = getattr(dataset, "test_pixels", None)
    images, picture = (None, ()) if pixels is None else (dataset.images, pixels.shape[1:])
    return Subject(name, model, accepted(name, model, x, picture), labels, tuple(dataset.classes), images, says)


def accepted(name: str, model: nn.Module, x: Tensor, picture: tuple[int, ...] = ()) -> Tensor:
    """The inputs in the shape that the model takes: as they are, as rows of numbers, or as pictures of this size.

    Raises: LabError where it takes none of these.
    """
    forms = [x, x.flatten(1), *([x.reshape(-1, 1, *picture)] if picture else [])]
    reasons = {}
    for form in forms:
        try:
            with torch.no_grad():
                model(form[:2])
            return form
        except Exception as error:  # a model of anyone's refuses an input in its own way
            reasons[tuple(form.shape[1:])] = (str(error).strip().splitlines() or [type(error).__name__])[0]
    told = "; ".join(f"{shape}: {reason}" for shape, reason in reasons.items())
    raise LabError(f"{name} takes none of these inputs, {told}. Let the function return (model, inputs).")


def _make(place: str) -> Any:
    path, _, function = place.strip().rpartition(":")
    if not path or not function:
        raise LabError(
            f'"{place}" names no model; write the file and the function that makes it, such as my_model.py:make.'
        )
    file = Path(path).expanduser()
    if not file.is_file():
        raise LabError(f"There is no file {file} here ({Path.cwd()}); give the path of the file that makes the model.")
    spec = importlib.util.spec_from_file_location(f"labkit_visitor_{abs(hash(str(file.resolve())))}", file)
    if spec is None or spec.loader is None:
        raise LabError(f"{file} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        maker = getattr(module, function)
        return maker()
    except AttributeError as error:
        if hasattr(module, function):
            raise LabError(f"{place} failed: {error}.") from error
        raise LabError(f"{file} has no function {function}.") from error
    except Exception as error:  # a file of anyone's fails in its own way
        raise LabError(f"{place} failed with {type(error).__name__}: {error}") from error


def _classes(labels: Tensor | None) -> tuple[str, ...]:
    return () if labels is None else tuple(str(number) for number in range(int(labels.max()) + 1))


def _as_pictures(x: Tensor) -> Callable[[Any], np.ndarray] | None:
    """Inputs (n, rows, columns) or (n, 1, rows, columns) as pictures, from the darkest to the lightest value; else None."""
    flat = x.squeeze(1) if x.ndim == 4 and x.shape[1] == 1 else x
    if flat.ndim != 3 or not flat.is_floating_point():
        return None

    def pictures(rows: Any) -> np.ndarray:
        chosen = flat[rows].float().numpy()
        low, high = float(flat.min()), float(flat.max())
        return (255 * (chosen - low) / max(high - low, 1e-9)).astype(np.uint8)

    return pictures
