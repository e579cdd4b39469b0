"""The dashboard as a web application: `serve(port, open_browser)` starts it; every page has an address of its own.

Pages: /papers, /paper?id=P120, /study?name=fast_feedforward, /look, /race, /runs, /speed, /source?file=... Nothing is fetched
from anywhere but this server.
"""

import importlib
import logging
from collections.abc import Callable
from threading import Thread
from typing import Any

import panel as pn

from labkit.dashboard import layout
from labkit.dashboard.visits import VISITS, grace, ticket_office
from labkit.errors import LabError
from labkit.workbench.hold.places import PLACES

EXTENSIONS = {
    "papers": (),
    "paper": (),
    "source": (),
    "study": ("plotly",),
    "look": ("plotly",),
    "race": ("plotly",),
    "runs": ("plotly", "tabulator"),
    "speed": ("plotly",),
}
ABOVE = {"paper": "papers", "source": "papers"}
"""Page -> the entry of the navigation that it belongs to."""


def page(name: str, **defaults: str) -> Callable[[], Any]:
    """A function that builds the page for one visitor. Its module is imported at the first visit.

    `defaults` stand in for what the address does not say.
    """

    def visit() -> Any:
        module = importlib.import_module(f"labkit.dashboard.{name}")
        pn.extension(*EXTENSIONS[name])
        return layout.page(module.title, ABOVE.get(name, name), module.build, layout.Session(defaults=defaults))

    return visit


def create(model: str | None = None) -> dict[str, Callable[[], Any]]:
    """All pages by their address, for `panel.serve`; the address "/" shows the papers.

    `model`, "path/to/file.py:function", is what the Look inside page opens on.
    """
    pages = {name: page(name) for name in EXTENSIONS}
    if model:
        pages["look"] = page("look", model=model)
    return {"/": pages["papers"], **pages}


def serve(port: int, open_browser: bool, address: str = "127.0.0.1", model: str | None = None) -> None:
    """Run the dashboard until it is interrupted. With `model`, it opens on the Look inside page with that model.

    LABKIT_RUNS is how many runs train at a time (by default one a core), LABKIT_GRACE for how many seconds a visitor's
    runs go on after the last page was closed.
    Raises: LabError when the port is taken, or when one of the two is no such number.
    """
    _ = grace(), PLACES.count
    cookie = f"labkit-visit-{port}"  # cookies do not know ports: two dashboards on one machine must not share one
    Thread(target=_warm, name="labkit-warm", daemon=True).start()
    try:
        server = pn.serve(
            create(model),
            port=port,
            address=address,
            show=False,
            start=False,
            title="labkit",
            websocket_origin=[f"{address}:{port}", f"localhost:{port}"],
            # a page counts as closed after so long; what its visitor runs has a time of grace from then on
            check_unused_sessions_milliseconds=2000,
            unused_session_lifetime_milliseconds=15000,
            # the ticket is in no page: bokeh would write the request's cookies into it
            exclude_cookies=[cookie],
            exclude_headers=["Cookie"],
        )
        server._tornado.add_transform(ticket_office(cookie))
    except OSError as error:
        reason = error.strerror or error
        raise LabError(f"The dashboard cannot use port {port} ({reason}); name another one with --port.") from error
    first = "look" if model else "papers"
    print(f"The dashboard is at http://{address}:{port}/{first} (Ctrl+C ends it)", flush=True)
    if open_browser:
        server.show(f"/{first}")
    try:
        server.run_until_shutdown()
    except KeyboardInterrupt:
        server.stop()
    finally:
        VISITS.close()


def _warm() -> None:
    """Import the other pages while the visitor reads the first one."""
    import torch

    torch.set_num_threads(1)  # small models gain nothing from more, and the page needs a core too
    for name in EXTENSIONS:
        try:
            importlib.import_module(f"labkit.dashboard.{name}")
        except ImportError:  # the page itself says so to whoever opens it
            logging.getLogger(__name__).debug("page %s cannot be imported", name, exc_info=True)
