"""Train a study inside a notebook: a button, a curve that grows while it trains, and the claims that come out.

A study trains in worker processes, several seeds at once, other work in a thread, so the notebook stays usable. Buttons
only raise flags; a thread paints at most ten times a second, and only when the browser has drawn the last picture.

Work in threads waits its turn: two at once would take each other's random numbers, and seeds would no longer mean
anything. Studies wait because each takes all cores: one at a time, more only on machines with many.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event, Lock, Semaphore, Thread
from typing import TYPE_CHECKING, Any

from ipywidgets import HTML, Button, Dropdown, HBox, Layout, VBox

from labkit.widgets.live_curve import Curve, Labels, LiveCurve, arms
from labkit.widgets.words import claims_table, duration, message, sentence
from labkit.workbench.crew.crew import cores

if TYPE_CHECKING:
    from labkit.workbench.live import Live

PERIOD = 0.1
GOING = ("waiting", "running", "stopping")
SCALES = {
    "smoke": "smoke: a first look, in seconds",
    "lesson": "lesson: the whole study, small",
    "paper": "paper: as near to it as one GPU gets",
}
LABELS = Labels(
    x="Training step",
    y="Test accuracy (fraction)",
    limits=(0, 1),
    empty="The curves begin with the first measurement.",
)
MEANWHILE = "It trains on this machine. The notebook stays usable meanwhile; Stop ends it after the step it is at."
MEAN, THIN = "Bold: the mean of the seeds that have got to a step.", "Thin: single seeds."
_shown: dict[str, "RunItHere"] = {}
_thread, _crews = Semaphore(1), Semaphore(max(1, cores() // 4))


class RunItHere(VBox):
    """Buttons to run a study and to stop it, its progress, its growing curves, and at the end the table of its claims.

    `study` is a study, its name, a training on several seeds (`labkit.workbench.crew.seeds.Seeds`), or any function
    `work(watch, stop)` as `labkit.workbench.live.Live` takes it. A control of the same `name` that is still there,
    because its cell was run again, is stopped and closed.

    With `check=False` a study is looked up by its name only when it is started, which spares the loading of torch.

    States: ready, waiting (another one trains), running, stopping, stopped, done, failed.
    Raises: LabError when no study has this name, or the study has no such scale.
    """

    def __init__(self, study: Any, scale: str = "lesson", *, name: str | None = None, check: bool = True):
        work = found(study, scale) if check else study
        self.name = name or (study if isinstance(study, str) else getattr(study, "name", "")) or "run it here"
        self.state, self.live, self.result = "ready", None, None
        self._work, self._done = work, []
        self._stop, self._lock, self._thread = Event(), Lock(), None
        self.run_button = Button(description="▶ Run it here", button_style="primary", layout=Layout(width="auto"))
        self.stop_button = Button(description="■ Stop", disabled=True, layout=Layout(width="auto"))
        self.scale = Dropdown(
            options=[(SCALES.get(one, one), one) for one in scales(work, scale)],
            value=scale,
            description="How much",
            style={"description_width": "initial"},
            layout=Layout(width="auto", max_width="100%"),
        )
        self.curve = LiveCurve(LABELS)
        self.message = HTML(message(expected(work, scale)))
        self.claims = HTML()
        self.run_button.on_click(lambda _button: self.start())
        self.stop_button.on_click(lambda _button: self.stop())
        self.scale.observe(
            lambda _change: setattr(self.message, "value", message(expected(work, self.scale.value))), "value"
        )
        choice = [self.scale] if len(self.scale.options) > 1 else []
        buttons = HBox([*choice, self.run_button, self.stop_button], layout=Layout(flex_flow="row wrap"))
        super().__init__([buttons, self.message, self.curve, self.claims])
        self.curve.layout.display = "none"
        before = _shown.get(self.name)
        if before is not None:
            before.close()
        _shown[self.name] = self

    @property
    def going(self) -> bool:
        """Whether a run is under way or waits for its turn."""
        return self.state in GOING

    def start(self) -> bool:
        """Start a run, as the button does; False while one is under way, so two clicks start one."""
        with self._lock:
            if self.going:
                return False
            self.state, self.live, self._stop = "waiting", None, Event()
            self._thread = Thread(target=self._go, args=(self._stop,), name=f"labkit-paint {self.name}", daemon=True)
        self._thread.start()
        return True

    def stop(self) -> None:
        """Ask the run to stop; it does so after the training step or measurement that it is at."""
        with self._lock:
            if not self.going:
                return
            self.state = "stopping"
            self._stop.set()
            if self.live is not None:
                self.live.stop()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end of the run, as a script does; whether it has ended."""
        if self._thread is not None:
            self._thread.join(seconds)
        return not self.going

    def on_done(self, callback: Callable[[Any], None]) -> None:
        """Call `callback(run)` after each run that came to its end. It is called from a thread."""
        self._done.append(callback)

    def close(self) -> None:
        """Stop what runs and remove the control from the notebook."""
        if "_lock" not in vars(self):  # ipywidgets closes what is thrown away, even where the constructor refused
            return
        self.stop()
        if _shown.get(self.name) is self:
            del _shown[self.name]
        for part in (self.scale, self.run_button, self.stop_button, self.message, self.curve, self.claims):
            part.close()
        super().close()

    def _go(self, stop: Event) -> None:
        began, ended = time.monotonic(), ""
        try:
            self.run_button.disabled, self.stop_button.disabled, self.scale.disabled = True, False, True
            self.claims.value, self.message.value = "", message("Preparing.")
            self.curve.layout.display = None
            work = found(self._work, self.scale.value)
            turn = _crews if in_processes(work) else _thread
            self._turn(turn, stop)
            try:
                began = time.monotonic()
                ended = self._watch(work, stop, began)
            finally:
                turn.release()
            self._finish(ended, time.monotonic() - began)
        except _Withdrawn:
            self._end("stopped", "Stopped before it began.")
        except Exception as error:  # shown in the control: a thread would swallow it
            self._end("failed", sentence(error), "error")
        finally:
            self.run_button.disabled, self.stop_button.disabled, self.scale.disabled = False, True, False

    def _turn(self, turn: Semaphore, stop: Event) -> None:
        """Wait until no other control trains that would be in the way."""
        while not turn.acquire(timeout=PERIOD):
            if stop.is_set():
                raise _Withdrawn
            if not self.curve.busy:
                self.curve.show([], fraction=0.0, status="Waiting: another run in this notebook has to end first.")

    def _watch(self, work: Any, stop: Event, began: float) -> str:
        """Run it and paint it until it ends; how it ended."""
        from labkit.workbench.live import Live

        scale = self.scale.value
        steps = work.at(scale).steps if hasattr(work, "at") else getattr(work, "steps", None)
        self.curve.labels = replace(LABELS, across=(0, steps or None))
        with self._lock:
            if stop.is_set():
                raise _Withdrawn
            self.live = live = Live(work, scale)
            self.state = "running"
        self.message.value = message(MEANWHILE)
        live.start()
        while not live.wait(PERIOD):
            if not self.curve.busy:
                self._paint(live, time.monotonic() - began)
        self._paint(live, time.monotonic() - began)
        return live.state

    def _paint(self, live: "Live", passed: float) -> None:
        lines = arms(live.points)
        self.curve.labels = named(self.curve.labels, live.shows)
        if live.lost and live.state in GOING:
            self._say(f"{MEANWHILE} {' '.join(live.lost)}", "error")
        note = explained(lines)
        if live.state in GOING:
            status = told(live.state, live.fraction, live.label, passed)
            self.curve.show(lines, fraction=live.fraction, status=status, note=note)
        else:
            self.curve.show(lines, note=note)

    def _finish(self, ended: str, seconds: float) -> None:
        live = self.live
        if ended == "failed":
            self._end("failed", live.error or "The run failed and gave no reason.", "error")
        elif ended == "stopped":
            self._end("stopped", f"Stopped after {duration(seconds)}. Nothing was kept; Run begins anew.")
        else:
            self.result = live.result
            rows = getattr(self.result, "claims", None)
            rows = rows if isinstance(rows, list) else []
            if rows:
                self.claims.value = claims_table(rows)
            said = [f"Finished in {duration(seconds)}.", *["Its claims are below the curves."] * bool(rows), *live.lost]
            said += ["The claims are decided on the seeds that every arm finished."] * bool(rows and live.lost)
            self._end("done", " ".join(said), "error" if live.lost else "done")
            self._tell()

    def _tell(self) -> None:
        for callback in self._done:
            try:
                callback(self.result)
            except Exception as error:  # the run is fine; what was to happen with it is not
                self.message.value = message(
                    f"The run ended, but what should follow failed: {sentence(error)}", "error"
                )

    def _say(self, text: str, kind: str = "info") -> None:
        said = message(text, kind)
        if self.message.value != said:
            self.message.value = said

    def _end(self, state: str, text: str, kind: str = "info") -> None:
        self.message.value = message(text, kind)
        self.state = state


class _Withdrawn(Exception):
    """Stopped while it waited for its turn."""


def told(state: str, fraction: float, label: str, passed: float) -> str:
    """Where a run is, in words: how much is done, what it does now, how long it took and may take."""
    percent = f"{100 * fraction:.0f} %"
    if state == "stopping":
        return f"{percent} · stopping after this step"
    if fraction >= 0.9999:
        return f"{percent} trained · now the last measurements and the claims · {duration(passed)} so far"
    left = f", about {duration(passed * (1 - fraction) / fraction)} more" if fraction > 0.1 and passed > 3 else ""
    return f"{percent} · {label or 'preparing'} · {duration(passed)} so far{left}"


def in_processes(work: Any) -> bool:
    """Whether this trains in worker processes: a study, or a training on several seeds that is not asked to stay here."""
    return hasattr(work, "at") or getattr(work, "jobs", 1) != 1


def named(labels: Labels, shows: str | None) -> Labels:
    """The labels with the name of what is drawn; a quantity other than an accuracy has no limits."""
    if shows == "test_accuracy":
        return replace(labels, y=LABELS.y, limits=LABELS.limits)
    return replace(labels, y=(shows or "value").replace("_", " ").capitalize(), limits=(None, None))


def explained(lines: Sequence[Curve]) -> str:
    """What the bold and the thin lines are, where there are any; the picture itself explains its bands."""
    banded = {line.name for line in lines if line.low is not None}
    thin = any(line.faint and line.of not in banded for line in lines)
    return " ".join([MEAN] * any(line.faint for line in lines) + [THIN] * thin)


def found(study: Any, scale: str) -> Any:
    """The study of this name; anything else as it is. Raises: LabError for a name or a scale that does not exist."""
    if isinstance(study, str):
        from labkit.workbench.find import study as find

        study = find(study)
    if hasattr(study, "at"):
        study.at(scale)
    return study


def scales(work: Any, scale: str) -> list[str]:
    """The scales to choose from: those of the study, those that every study has, or only this one."""
    known = list(work.scales) if hasattr(work, "scales") else ["smoke", "lesson"] if isinstance(work, str) else []
    return known if scale in known else [*known, scale]


def expected(work: Any, scale: str) -> str:
    """What will be trained, as a sentence."""
    if isinstance(work, str):
        return f"Ready to train {work} on this machine (scale “{scale}”)."
    if hasattr(work, "seeds"):
        return f"Ready to train {len(work.seeds)} seeds on this machine."
    if not hasattr(work, "at"):
        return "Ready to train on this machine."
    size = work.at(scale)
    steps = f"{size.steps:,} training steps each"
    return f"Ready to train {len(work.arms)} arms on {size.seeds} seeds, {steps} (scale “{scale}”)."
