"""Work that takes seconds happens in a thread, and its result comes back to the page that asked for it."""

from collections.abc import Callable
from threading import Thread
from typing import Any

import panel as pn

from labkit.dashboard.layout import Session


def in_background(session: Session, work: Callable[[], Any], then: Callable[[Any], None], at_last: Callable[[], None]):
    """Call `then(work())`, the work in a thread; an error is said in the page; `at_last` is called in any case.

    Without a server (in a test, in a script) everything happens at once.
    """
    document = pn.state.curdoc

    def finish(result: Any, error: BaseException | None) -> None:
        try:
            if error is None:
                session.guarded(then)(result)
            else:
                session.fail(error)
        finally:
            at_last()

    def go() -> None:
        result, failed = None, None
        try:
            result = work()
        except Exception as error:  # handed to the page, which shows it: a thread would swallow it
            failed = error
        if document is None:
            finish(result, failed)
        elif document.session_context is not None and not document.session_context.destroyed:
            document.add_next_tick_callback(lambda: finish(result, failed))

    if document is None:
        go()
    else:
        # What comes before the page is served would ask a CDN for its styles, and be lost.
        pn.state.onload(lambda: Thread(target=go, name="labkit-page", daemon=True).start())
