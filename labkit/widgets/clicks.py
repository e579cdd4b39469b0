"""Clicks that are heard while a cell is running: the messages of chosen widgets are handled in a thread of their own.

A Jupyter kernel handles what the browser sends (a click, "I have drawn it") in the thread that also runs the cells, so
a Pause button answers only when the running cell ends. From ipykernel 7 on, messages arrive in another thread, which
passes them on. `at_once` puts a gate there: messages to the chosen widgets go to a thread of labkit's, all others
go the way they always went, whatever the browser or its settings say. Callbacks of such a widget run in that thread:
they should set a flag and return, and `KeyboardInterrupt` never reaches them. What they print belongs to the click,
not to the cell that happens to run, as with every widget: JupyterLab shows it in its log.

ipykernel 6 reads messages in the thread of the cells only. There a loop in a cell must call `pump()` now and then, and
clicks that arrive during any other cell wait for its end (`says()` is the sentence about that).
Outside a kernel, as in Panel and in tests, everything here does nothing.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from queue import Empty, SimpleQueue
from threading import Lock, RLock, Thread, get_ident, main_thread
from typing import Any
from weakref import WeakKeyDictionary

from ipywidgets import Widget

PATIENCE = 0.05
"""Seconds that a painter and a click on the same widget wait for each other at most."""
IDLE = 30.0
"""Seconds without a click after which the thread of a widget ends; the next click starts another."""
OFTEN = 0.02
"""Seconds between two looks of `pump` at the messages."""


def at_once(*widgets: Widget) -> bool:
    """Handle what the browser sends to these widgets, and to all inside them, at once, also while a cell is running.

    Each widget that is given has a thread of its own, and shares it with what is inside it, now or later, and was not given
    itself: `at_once(deck, box)` answers the deck also while a callback in the box takes long.
    Returns: whether that is so here; False under ipykernel 6 (see `pump`) and outside a kernel.
    """
    gate = _gate()
    if gate is None:
        return False
    for widget in widgets:
        _admit(gate, _Line(gate.kernel), widget)
    return gate.threaded


def pump() -> None:
    """Let waiting clicks through; for a loop in a cell under ipykernel 6. Elsewhere, and too soon again, it does nothing.

    Raises: KeyboardInterrupt when the kernel is interrupted meanwhile.
    """
    if _pumped is not None and time.monotonic() >= _pumped.due:
        _pumped.look()


def says() -> str:
    """A sentence for people when clicks wait for the end of the running cell, "" when they are heard at once."""
    gate = _gate()
    if gate is None or gate.threaded:
        return ""
    from ipykernel import __version__

    return (
        f"With ipykernel {__version__} clicks are heard only between two cells; "
        "with ipykernel 7 or later they are heard at once."
    )


class _Line:
    """The clicks of a widget and what is inside it, one after another, in a thread that ends when none come for a while."""

    def __init__(self, kernel: Any):
        self.kernel, self._waiting, self._state, self._works = kernel, SimpleQueue(), Lock(), False

    def put(self, frames: list[Any]) -> None:
        with self._state:
            self._waiting.put(frames)
            if self._works:
                return
            self._works = True
        Thread(target=self._work, name="labkit-clicks", daemon=True).start()

    def _work(self) -> None:
        while True:
            try:
                frames = self._waiting.get(timeout=IDLE)
            except Empty:
                with self._state:
                    if self._waiting.empty():
                        self._works = False
                        return
                continue
            _handle(self.kernel, frames, _belongs_to)


class _Gate:
    """Stands where the kernel receives messages, and takes out those for the chosen widgets."""

    def __init__(self, kernel: Any):
        self.kernel, self.lines, self.due = kernel, {}, 0.0
        thread = getattr(kernel, "shell_channel_thread", None)
        self.threaded = thread is not None
        self._pass = getattr(kernel.shell_stream, "_recv_callback", None)
        if self._pass is None or not hasattr(kernel, "comm_manager"):
            raise AttributeError("This kernel receives messages in another way.")
        if self.threaded:
            thread.io_loop.add_callback(lambda: kernel.shell_stream.on_recv(self.receive, copy=False))
        else:
            kernel.shell_stream.on_recv(self.receive, copy=False)

    def receive(self, frames: list[Any]) -> Any:
        """Called by the kernel for each message, in the thread that receives them."""
        line = None
        with suppress(Exception):  # whatever is odd about a message, the kernel itself says it better
            line = self.lines.get(self._widget(frames))
        if line is None:
            return self._pass(frames)
        if self.threaded:
            return line.put(frames)
        return _handle(self.kernel, frames, _lent_to)

    def _widget(self, frames: list[Any]) -> str | None:
        """The widget that a message is for; None when it is not a widget's message."""
        session = self.kernel.session
        _, parts = session.feed_identities(frames, copy=False)
        if b"comm_msg" not in bytes(parts[1]):
            return None
        return session.unpack(bytes(parts[4])).get("comm_id") if _kind(session, parts) == "comm_msg" else None

    def look(self) -> None:
        """Take in what has arrived: clicks are handled, the rest waits for the end of the cell, in its order."""
        if get_ident() == main_thread().ident:
            self.due = time.monotonic() + OFTEN
            self.kernel.shell_stream.flush(1)  # zmq.POLLIN


def _kind(session: Any, parts: list[Any]) -> str:
    return session.unpack(bytes(parts[1]))["msg_type"]


def _handle(kernel: Any, frames: list[Any], within: Callable[[Any, Any, Any], Any]) -> None:
    """Handle one message as the kernel does: say busy, call the widget, say idle (its browser side waits for that)."""
    session = kernel.session
    idents, parts = session.feed_identities(frames, copy=False)
    try:
        message = session.deserialize(parts, content=True, copy=False)
    except Exception:
        kernel.log.error("labkit: a message to a widget could not be read", exc_info=True)
        return
    with within(kernel, idents, message):
        _status(kernel, "busy", message)
        try:
            kernel.comm_manager.comm_msg(kernel.shell_stream, idents, message)  # logs what a callback raises
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            _status(kernel, "idle", message)


def _status(kernel: Any, state: str, parent: Any) -> None:
    topic = f"kernel.{kernel.ident}.status".encode()
    kernel.session.send(kernel.iopub_socket, "status", {"execution_state": state}, parent=parent, ident=topic)


@contextmanager
def _belongs_to(kernel: Any, idents: Any, message: Any) -> Iterator[None]:
    """What this thread prints and shows belongs to the message; other threads keep what theirs belongs to."""
    shell = getattr(kernel, "shell", None)
    _set(kernel, "_shell_parent", message)
    _set(kernel, "_shell_parent_ident", idents)
    _set(shell, "_parent_header", message)
    for place in (sys.stdout, sys.stderr, getattr(shell, "displayhook", None), getattr(shell, "display_pub", None)):
        _set(place, "_parent_header", message["header"])
    yield


def _set(owner: Any, name: str, value: Any) -> None:
    variable = getattr(owner, name, None)
    if isinstance(variable, ContextVar):
        variable.set(value)


@contextmanager
def _lent_to(kernel: Any, idents: Any, message: Any) -> Iterator[None]:
    """In the thread of the cells: what is printed belongs to the message, and afterwards to the cell again."""
    before = kernel._parent_ident["shell"], kernel.get_parent("shell")
    kernel.set_parent(idents, message, channel="shell")
    try:
        yield
    finally:
        kernel.set_parent(*before, channel="shell")


def _admit(gate: _Gate, line: _Line, widget: Widget) -> None:
    """Take a widget in, with what is inside it now and later, until it is closed."""
    if widget in _admitted:
        return
    _admitted[widget] = line
    _take_turns(widget)

    def opened(comm: Any, before: Any = None) -> None:
        if before is not None:
            gate.lines.pop(before.comm_id, None)
        if comm is not None:
            gate.lines[comm.comm_id] = line

    def filled(children: Any) -> None:
        for child in children:
            if isinstance(child, Widget):
                _admit(gate, line, child)

    opened(widget.comm)
    widget.observe(lambda change: opened(change["new"], change["old"]), "comm")
    if widget.has_trait("children"):
        filled(widget.children)
        widget.observe(lambda change: filled(change["new"]), "children")


def _take_turns(widget: Widget) -> None:
    """Painting (in `hold_sync`) and clicks on one widget take turns: ipywidgets mixes up what two threads send at once.

    Neither waits longer than `PATIENCE`, so two widgets that call each other cannot stand still.
    """
    turn, hold, take = RLock(), widget.hold_sync, widget.set_state

    @contextmanager
    def mine() -> Iterator[None]:
        got = turn.acquire(timeout=PATIENCE)
        try:
            yield
        finally:
            if got:
                turn.release()

    @contextmanager
    def hold_sync() -> Iterator[None]:
        with mine(), hold():
            yield

    def set_state(sync_data: dict[str, Any]) -> None:
        with mine():
            take(sync_data)

    widget.hold_sync, widget.set_state = hold_sync, set_state


def _gate() -> _Gate | None:
    """The gate of this process's kernel; None where there is no kernel, or one that works in another way."""
    global _opened, _pumped
    kernels = sys.modules.get("ipykernel.kernelbase")
    if kernels is None or not kernels.Kernel.initialized():
        return None
    kernel = kernels.Kernel.instance()
    with _opening:
        if _opened is None or _opened.kernel is not kernel:
            try:
                _opened = _Gate(kernel)
            except (AttributeError, TypeError):  # a kernel without a stream for its shell, as in the same process
                return None
            _pumped = None if _opened.threaded else _opened
            if _pumped is not None:
                from labkit.workbench.hold.attached import WAITING

                WAITING.append(pump)  # a loop of the user's own lets its clicks through at each tick
        return _opened


_opening = Lock()
_opened: _Gate | None = None
_pumped: _Gate | None = None
_admitted: "WeakKeyDictionary[Widget, _Line]" = WeakKeyDictionary()
