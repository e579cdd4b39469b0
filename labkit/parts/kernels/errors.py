"""What a fast path says when it cannot do what is asked."""

from labkit.errors import LabError


class KernelError(LabError, RuntimeError):
    """A compiled path was demanded where there is none, or more was asked of it than it knows."""
