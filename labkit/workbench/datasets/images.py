"""Fashion-MNIST and MNIST: small grey pictures in ten classes, an embedded balanced part of each or the whole set."""

import io
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.workbench.datasets.dataset import Dataset
from labkit.workbench.datasets.download import own_folder, whole_file
from labkit.workbench.datasets.files import cache_folder, data_folder, read_embedded
from labkit.workbench.datasets.idx import read_idx

FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


@dataclass(frozen=True)
class ImageSet:
    """What is known of a public set of images before a file is opened; `homes` are web folders with its files."""

    classes: tuple[str, ...]
    source: str
    licence: str
    homes: tuple[str, ...]


IMAGE_SETS = {
    "fashion_mnist": ImageSet(
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        source="Fashion-MNIST, Zalando Research (Xiao, Rasul and Vollgraf 2017), "
        "https://github.com/zalandoresearch/fashion-mnist",
        licence="MIT, copyright 2017 Zalando SE",
        homes=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
    ),
    "mnist": ImageSet(
        classes=tuple("0123456789"),
        source="MNIST, LeCun, Cortes and Burges (1998), http://yann.lecun.com/exdb/mnist/",
        licence="CC BY-SA 3.0, as MNIST is usually given; copyright Yann LeCun and Corinna Cortes",
        homes=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    ),
}


def image_set(name: str, full: bool = False) -> Dataset:
    """A set of 28 x 28 grey images: embedded and balanced, or with `full` the whole public set.

    Raises: LabError where a file is missing or damaged, or the whole set cannot be had.
    """
    arrays = _whole(name, own_folder(), cache_folder()) if full else _embedded(name, data_folder())
    known = IMAGE_SETS[name]
    return Dataset(
        name=name,
        train_x=_inputs(arrays["train_images"]),
        train_y=torch.from_numpy(arrays["train_labels"].astype(np.int64)),
        test_x=_inputs(arrays["test_images"]),
        test_y=torch.from_numpy(arrays["test_labels"].astype(np.int64)),
        classes=known.classes,
        source=known.source,
        licence=known.licence,
        train_pixels=arrays["train_images"],
        test_pixels=arrays["test_images"],
    )


def _inputs(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32)).div_(255.0).unsqueeze(1)


# The folders are arguments so that another LABKIT_ASSETS, LABKIT_DATA or cache is never answered from memory.
@cache
def _embedded(name: str, folder: Path) -> dict[str, np.ndarray]:
    content = read_embedded(f"{name}.npz")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in FILES}
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as reason:
        raise LabError(
            f"{folder / name}.npz does not hold the arrays of an embedded data set ({reason}); remake it with "
            f"`python -m labkit.workbench.datasets.embed {name} FOLDER`"
        ) from reason
    return _checked(name, arrays)


@cache
def _whole(name: str, own: Path | None, cached: Path) -> dict[str, np.ndarray]:
    homes = IMAGE_SETS[name].homes
    return _checked(name, {key: read_idx(whole_file(name, file, homes), file) for key, file in FILES.items()})


def _checked(name: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise LabError(
                f"the {part} part of {name} has images of shape {images.shape} and labels of shape {labels.shape}, "
                "which do not belong together; restore the original files"
            )
    for array in arrays.values():
        array.flags.writeable = False
    return arrays
