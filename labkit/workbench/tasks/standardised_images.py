"""Tell the class of an image whose grey values have been moved to mean 0 and spread 1, as vision models are fed."""

from labkit.workbench.tasks.classification import Classification


class StandardisedImages(Classification):
    """`Classification` with one mean and one spread taken from all pixels of all training images.

    Grey values from 0 to 1 are all of one sign, and hidden units then move together; with mean 0 they do not.
    """

    def __init__(self, name: str, *, batch: int = 64, rows: int | None = None, test_rows: int | None = None):
        super().__init__(name, batch=batch, rows=rows, test_rows=test_rows)
        mean, spread = self.train_x.mean(), self.train_x.std()
        self.train_x, self.test_x = (self.train_x - mean) / spread, (self.test_x - mean) / spread
