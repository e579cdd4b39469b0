"""A camera that waits for one kind of garment and mostly sees others: a stream in which few inputs are wanted.

Accuracy says nothing here: who never reports anything is right 19 times in 20. So `accuracy` is balanced, the mean of how often
wanted and other inputs are told rightly; chance is a half, whatever the shares.
"""

from torch import Tensor
from torch.nn import functional as F

from labkit.errors import LabError
from labkit.workbench.datasets.load import load
from labkit.workbench.tasks.rows import Batch, Rows

SETTING, TUNING = 1600, 2000
"""Training images that are held out: the first for setting thresholds, the second for choosing hyperparameters."""


class WantedGarments(Rows):
    """Pictures of clothes (rows, 784); label 1 for the `wanted` kind. Of training and test rows a `share` is wanted.

    `setting()` are images that nobody learns from, to set thresholds on; `every()` all test images, with all wanted ones.
    With `tuning` the test images are taken from the training part, so that what is chosen on them was not chosen on the test.
    `garments()` are the kinds of the rows of `every()`, as numbers of `kinds`.
    """

    metric = "accuracy"
    labels = ("not wanted", "wanted")

    def __init__(
        self,
        wanted: str = "Dress",
        *,
        share: float = 0.05,
        batch: int = 64,
        rows: int | None = None,
        test_rows: int | None = None,
        tuning: bool = False,
    ):
        data = load("fashion_mnist")
        if wanted not in data.classes or not 0 < share < 0.1:
            raise LabError(
                f"One kind is wanted, of {', '.join(data.classes)}, and under a tenth of the stream; not {wanted!r}, {share:g}."
            )
        self.name, self.batch, self.wanted, self.kinds = "wanted_garments", batch, wanted, tuple(data.classes)
        self.in_width, self.out_width = data.train_x[0].numel(), 2
        x, kind = data.train_x.flatten(1), data.train_y
        number = data.classes.index(wanted)
        self._setting = x[:SETTING], (kind[:SETTING] == number).long()
        chosen = x[SETTING : SETTING + TUNING], kind[SETTING : SETTING + TUNING]
        judged = chosen if tuning else (data.test_x.flatten(1), data.test_y)
        self._every = judged[0][:test_rows], (judged[1][:test_rows] == number).long()
        self._kinds = judged[1][:test_rows]
        learnt = x[SETTING + TUNING :][:rows], (kind[SETTING + TUNING :][:rows] == number).long()
        self.train_x, self.train_y = _rare(*learnt, share)
        self.test_x, self.test_y = _rare(*self._every, share)

    def setting(self) -> Batch:
        return self._setting

    def every(self) -> Batch:
        return self._every

    def garments(self) -> Tensor:
        return self._kinds

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy in nats, wanted and other rows half each. A kind that is not there counts nothing."""
        cost = F.cross_entropy(prediction, target, reduction="none")
        halves = [(cost * kind).sum() / kind.sum().clamp_min(1) for kind in (target, 1 - target)]
        return (halves[0] + halves[1]) / 2

    def accuracy(self, prediction: Tensor, target: Tensor) -> float:
        """Balanced accuracy: the mean of the shares of wanted and of other rows that are told rightly."""
        right = (prediction.argmax(-1) == target).float()
        return ((right[target == 1].mean() + right[target == 0].mean()) / 2).item()


def _rare(x: Tensor, label: Tensor, share: float) -> Batch:
    """The rows in their order, without the last wanted ones, so that a `share` of what is left is wanted."""
    others = int((label == 0).sum())
    many = round(others * share / (1 - share))
    kept = (label == 0) | (label.cumsum(0) <= many)
    return x[kept], label[kept]
