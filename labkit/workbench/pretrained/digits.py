"""A convolutional network that reads handwritten digits: three ReLU convolutions and one hidden layer.

Three times a convolution of 3 x 3 (32, 64, 128 channels), ReLU, and the largest of each 2 x 2; then 256 hidden units,
ReLU, and a score for each digit. 390,410 parameters. It expects pixels as (x - 0.1307) / 0.3081 with x in 0..1.

The code is ours; the weights are those of digit-recognizer-py 0.1.0, rounded to fp16.
"""

import numpy as np
import torch
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.workbench.datasets.load import load as load_data
from labkit.workbench.pretrained.files import read_weights
from labkit.workbench.pretrained.pretrained import Pretrained

MEAN, SPREAD = 0.1307, 0.3081
SHOWN = 500


class DigitsNetwork(nn.Module):
    """Pictures -> a score for each digit.

    Shapes: (n, 1, 28, 28) as `encode` makes them -> (n, 10)
    """

    def __init__(self) -> None:
        super().__init__()
        stages = [
            part
            for before, after in ((1, 32), (32, 64), (64, 128))
            for part in (nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        ]
        self.features = nn.Sequential(*stages)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(128 * 3 * 3, 256), nn.ReLU(), nn.Linear(256, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


def encode(pictures: np.ndarray) -> Tensor:
    """Pictures as the network reads them.

    Shapes: (n, 28, 28) uint8, 0 black to 255 white, the digit white -> (n, 1, 28, 28) float32
    Raises: LabError for another shape or type.
    """
    pictures = np.asarray(pictures)
    if pictures.ndim != 3 or pictures.shape[1:] != (28, 28) or pictures.dtype != np.uint8:
        raise LabError(
            f"the digits CNN reads pictures of shape (n, 28, 28) and type uint8, and got {pictures.shape} of type "
            f"{pictures.dtype}"
        )
    return (torch.from_numpy(pictures.astype(np.float32))[:, None] / 255 - MEAN) / SPREAD


def load() -> Pretrained:
    """The network and 500 MNIST test pictures, fifty of each digit.

    Raises: LabError where a file is missing or damaged.
    """
    model = DigitsNetwork()
    model.load_state_dict(read_weights("digits.npz"))
    data = load_data("mnist")
    pictures = data.images(slice(SHOWN))
    return Pretrained(
        name="digits CNN",
        model=model.eval(),
        inputs=encode(pictures),
        says="A ReLU convolutional network with 390 thousand parameters: reads handwritten digits. The inputs are "
        f"{SHOWN} pictures of MNIST's test part.",
        source="digit-recognizer-py 0.1.0 (Shivam Gupta); pictures: MNIST (LeCun, Cortes, Burges)",
        licence=f"MIT; the pictures {data.licence}",
        encode=encode,
        targets=data.test_y[:SHOWN],
        labels=data.test_y[:SHOWN],
        classes=data.classes,
        images=pictures,
    )
