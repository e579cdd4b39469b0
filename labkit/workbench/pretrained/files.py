"""The small files of the pretrained models, in assets/models: read whole and unchanged, or refused."""

import io
import json
import os
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.workbench.datasets.files import Checksum, mismatch


def models_folder() -> Path:
    """The folder with the embedded models: `assets/models` of the checkout, or `models` in the folder LABKIT_ASSETS.

    Raises: LabError where there is no such folder.
    """
    assets = os.environ.get("LABKIT_ASSETS") or Path(__file__).parents[3] / "assets"
    folder = Path(assets).expanduser() / "models"
    if not folder.is_dir():
        raise LabError(
            f"the embedded models are not at {folder}; run labkit from its checkout, or set LABKIT_ASSETS to the "
            "checkout's folder `assets`"
        )
    return folder


def expected(name: str) -> Checksum:
    """What `assets/models/checksums.json` says of a file.

    Raises: LabError where the list is missing, unreadable or does not hold the file.
    """
    path = models_folder() / "checksums.json"
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))[name]
        return Checksum(entry["bytes"], entry["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as reason:
        raise LabError(
            f"{path} holds no checksum of {name} ({type(reason).__name__}: {reason}); restore the folder "
            "assets/models from the repository"
        ) from reason


def read(name: str) -> bytes:
    """The bytes of one embedded file, after its checksum was found right.

    Raises: LabError where the file is missing, unreadable, truncated or changed.
    """
    path = models_folder() / name
    remedy = f"restore it from the repository, for example with `git checkout -- assets/models/{name}`"
    try:
        content = path.read_bytes()
    except OSError as reason:
        raise LabError(f"{path} cannot be read ({reason.strerror or reason}); {remedy}") from reason
    if difference := mismatch(content, expected(name)):
        raise LabError(f"{path} is damaged: {difference}; {remedy}")
    return content


def read_text(name: str) -> str:
    """An embedded file as text."""
    return read(name).decode("utf-8")


def read_weights(name: str) -> dict[str, Tensor]:
    """The numbers of an embedded .npz file as float32 tensors; nothing in the file is ever run (no pickle).

    Raises: LabError where the file is damaged, or holds anything but plain arrays.
    """
    content = read(name)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {
                key: torch.from_numpy(arrays[key].astype(np.float32)) for key in arrays if arrays[key].dtype.kind == "f"
            }
    except (ValueError, BadZipFile, OSError) as reason:
        raise LabError(
            f"{models_folder() / name} is no .npz file of plain arrays ({reason}); restore it from the repository"
        ) from reason
