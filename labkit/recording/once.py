"""Look once, measure often: within a block, a model that is observed again on the same inputs is not run again.

    with once():
        unit_activity(model, batch), unit_health(model, batch)      # the model runs once

The same means the same objects. Nobody may change the model or the inputs inside the block.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_kept: ContextVar[dict[Hashable, tuple[Any, Any]] | None] = ContextVar("kept", default=None)


@contextmanager
def once() -> Iterator[None]:
    """While the block runs, what `observe` records is kept, and given again to whoever asks the same."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def kept(question: Hashable, about: Any, look: Callable[[], Any]) -> Any:
    """What was found for the same question in this `once`, else what `look()` finds.

    `about` is held as long as the answer, so that the ids in the question stay those of the same objects.
    """
    answers = _kept.get()
    if answers is None:
        return look()
    if question not in answers:
        answers[question] = look(), about
    return answers[question][0]
