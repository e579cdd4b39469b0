"""A model of one's own on several seeds at once, with its band growing below the cell while it is running.

    def train(seed, tell):
        model = build()                      # torch, numpy and Python begin at the seed
        for step in range(1, 501):
            ...
            tell(step, test_accuracy=accuracy)

    data = labkit.seeds(train, seeds=5, steps=500)

Interrupting the cell ends all of it. In a script nothing is drawn. For buttons instead of a cell that waits, give
`labkit.workbench.crew.seeds.Seeds(train)` to `RunItHere`.
"""

import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from labkit.workbench.crew.seeds import Seeds, Training

if TYPE_CHECKING:
    import xarray as xr

PERIOD = 0.25


def seeds(
    train: "Training | Mapping[str, Training]",
    seeds: int | Sequence[int] = 5,
    *,
    jobs: int | None = None,
    steps: int = 0,
    shows: str | None = None,
) -> "xr.Dataset":
    """Train on several seeds at once, each in a process of its own, and return one data set with an axis `seed`.

    Takes what `labkit.workbench.crew.seeds.Seeds` takes. A seed whose process died is missing: a warning, or a
    sentence below the curves, says so.

    Raises: whatever a training raises; LabError when no training is left, or when it cannot be sent to a process.
    """
    work = Seeds(train, seeds, jobs=jobs, steps=steps, shows=shows)
    if in_notebook():
        return drawn(work)
    data = work()
    for sentence in data.attrs.get("lost", ()):
        warnings.warn(sentence, stacklevel=2)
    return data


def in_notebook() -> bool:
    """Whether this runs in a kernel, with a page that can show a picture."""
    shell = sys.modules.get("IPython")
    return shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None


def drawn(work: Seeds) -> "xr.Dataset":
    """Run it, and draw what it tells until it ends."""
    from IPython.display import display

    from labkit.widgets.live_curve import Labels, LiveCurve
    from labkit.workbench.live import Live

    curve, live = (
        LiveCurve(Labels(x="Step", across=(0, work.steps or None), empty="Starting the processes.")),
        Live(work),
    )
    display(curve)
    live.start()
    try:
        while not live.wait(PERIOD):
            paint(curve, live)
    except KeyboardInterrupt:
        live.stop()
        live.wait(5)
        raise
    finally:
        paint(curve, live)
    if live.exception is not None:
        raise live.exception
    return live.result


def paint(curve, live) -> None:
    """Show what was told so far: thin lines are single seeds, the bold one is their mean."""
    from labkit.widgets.live_curve import arms
    from labkit.widgets.run_it_here import GOING, explained, named

    lines = arms(live.points)
    curve.labels = named(curve.labels, live.shows)
    note = " ".join([explained(lines), *(f"⚠ {sentence}" for sentence in live.lost)]).strip()
    if live.state in GOING:
        curve.show(
            lines, fraction=live.fraction, status=f"{100 * live.fraction:.0f} % · {live.label or 'starting'}", note=note
        )
    else:
        curve.show(lines, note=note)
