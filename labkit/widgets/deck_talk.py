"""The Python half of a deck, the same in a notebook and in Panel: it obeys what the browser orders and shows the run.

Orders are a queue in one trait (`command`), because a browser that sends two quickly while Python is busy delivers only
the last value of a trait. Each order has an id and is obeyed once; `answers` says what became of the last twenty. What
may have to wait for the end of a training step is done in a thread of its own, so that the kernel stays usable.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock, RLock, Thread
from typing import Any

from labkit.errors import LabError
from labkit.widgets.deck_plan import obeyed, orders, picked_of, plan_of, status_of

PATIENCE = 1.0
"""Seconds after which a message that no browser has acknowledged counts as seen: the tab may be closed."""
PERIOD = 0.5
"""Seconds between two looks whether the plan has changed, unless something was ordered."""
ANSWERS = 20
FOLLOWED = 2.0
"""Seconds for which the end of the last step is waited for."""
AT_ONCE = ("run", "pause", "step", "view")
"""Orders that only leave a note, and wait for nothing."""


class DeckTalk:
    """What both decks share. They have the traits `status, plan, command, done, answers, seq, acked`, and `_tell(**values)`."""

    status: str
    plan: str
    seq: int
    acked: int
    done: int

    def _begin(self) -> None:
        self.run: Any = None
        self._live, self._picked = True, None
        self._status: dict[str, Any] = {}
        self._ids: deque[int] = deque(maxlen=500)
        self._answers: deque[dict[str, Any]] = deque(maxlen=ANSWERS)
        self._heard: list[Callable[[dict[str, Any]], None]] = []
        self._lock, self._sent, self._planned = RLock(), 0.0, 0.0
        # Never held while something is sent: the thread that hears the browser must not wait for one that paints.
        self._door = Lock()
        self._errands: deque[dict[str, Any] | None] = deque()
        self._runner: Thread | None = None
        self._last = ""

    def _tell(self, **values: Any) -> None:
        raise NotImplementedError

    def obey(self, run: Any) -> None:
        """Do with this run what is clicked, and show it. A recording is shown, and nothing can be ordered."""
        self.run, self._live, self._status = run, hasattr(run, "pause"), {}
        self.show(run, planned=True)

    def on_order(self, callback: Callable[[dict[str, Any]], None]) -> None:
        """Call `callback(order)` after each order that was obeyed: {"id": ..., "do": "view", "step": 120}."""
        self._heard.append(callback)

    def pick(self, says: str = "", choices: Sequence[Any] = ()) -> None:
        """Show what was picked in a picture and what can be done with it; without words nothing is picked.

        `choices` is what `labkit.workbench.hold.possible.possible(model, place, active)` gives.
        """
        self._picked = picked_of(says, choices) if says else None
        if self.run is not None:
            self.show(self.run, planned=True)

    def show(self, run: Any = None, *, planned: bool = False) -> None:
        """Send where the run is, and its plan where that has changed; `planned` looks at the plan at once."""
        run = self.run if run is None else run
        if run is None:
            raise LabError("The deck has no run to show: call deck.obey(run) first.")
        with self._lock:
            status, now = status_of(run), time.monotonic()
            values: dict[str, Any] = {}
            if status["state"] == "running" or {**status, "at": 0} != {**self._status, "at": 0}:
                self._status, values["status"] = status, json.dumps(status)
            if planned or now - self._planned >= PERIOD:
                plan = json.dumps(plan_of(run, self._picked, self._live))
                self._planned = now
                if plan != self.plan:
                    values["plan"] = plan
            with self._door:
                answers = list(self._answers)
            if answers and answers[-1]["id"] != self.done:
                values |= {"answers": json.dumps(answers), "done": answers[-1]["id"]}
            if values:
                self._sent = now
                self._tell(**values, seq=self.seq + 1)

    @property
    def busy(self) -> bool:
        """Whether the browser still draws what was shown last; after a second without an answer it counts as done."""
        return self.acked < self.seq and time.monotonic() - self._sent < PATIENCE

    def _order(self, text: str) -> None:
        """The browser has sent its queue: obey what is new in it. Called by the thread that hears the browser."""
        if self.run is None or not self._live:
            return
        for order in orders(text):
            with self._door:
                if order["id"] in self._ids:
                    continue
                self._ids.append(order["id"])
            if order["do"] in AT_ONCE:
                self._do(order)
                self._answered()
            else:
                self._soon(order)

    def _soon(self, errand: dict[str, Any] | None) -> None:
        """Do this order in the deck's own thread, after those before it; None only shows what has become of them."""
        with self._door:
            self._errands.append(errand)
            if self._runner is None:
                self._runner = Thread(target=self._run_errands, name="labkit-deck", daemon=True)
                self._runner.start()

    def _run_errands(self) -> None:
        while True:
            with self._door:
                if not self._errands:
                    self._runner = None
                    return
                errand = self._errands.popleft()
            if errand is not None:
                self._do(errand)
            if errand is None or not self._errands:
                self._tell_answers()
                self._follow()

    def _follow(self) -> None:
        """The step under way ends a moment after Pause: say so then, and not when somebody looks the next time."""
        end = time.monotonic() + FOLLOWED
        while self._last in ("pause", "step") and not self._errands and time.monotonic() < end:
            if self.run.status()["state"] != self._status.get("state"):
                self.show(planned=True)
                return
            if self._status.get("state") != "running":
                return
            time.sleep(0.01)

    def _do(self, order: dict[str, Any]) -> None:
        self._last = order["do"]
        refused = self._try(order)
        with self._door:
            self._answers.append({"id": order["id"], "do": order["do"], "refused": refused})
        self._planned = 0.0  # what was ordered may have changed the plan

    def _answered(self) -> None:
        """An order was obeyed in the thread that hears the browser: another one says so."""
        self._soon(None)

    def _tell_answers(self) -> None:
        """Say what became of the orders. In Panel the next `show` does."""
        try:
            self.show()
        except Exception as error:  # a thread would swallow it, and the browser would wait for ever
            with self._door:
                answers = [{**one, "refused": one["refused"] or str(error)} for one in self._answers]
            self._tell(answers=json.dumps(answers))

    def _try(self, order: dict[str, Any]) -> str | None:
        try:
            obeyed(self.run, order)
            if order["do"] in ("touch", "undo"):
                self._picked = None
            for callback in self._heard:
                callback(order)
        except LabError as error:
            return str(error)
        except Exception as error:  # the run is the user's: whatever it raises is said in the deck
            return f"This did not work: {type(error).__name__}: {error}"
        return None
