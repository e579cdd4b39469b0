"""The site: every notebook as a page with its recorded views, for people without Python. It works from a file, offline."""

import hashlib
import html
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from plotly.offline import get_plotlyjs

from labkit.errors import LabError
from labkit.widgets import array_explorer, lite_figure
from labkit.widgets.export import page_script
from labkit.workshop.building import cells
from labkit.workshop.building.executed import execute
from labkit.workshop.building.folder import require_ours, whole
from labkit.workshop.building.site_page import VIEW, Page, introduction
from labkit.workshop.building.typeset import formulas_script, page

KIND, HERE = "site", Path(__file__).parent
FIRST = "Start here"


@dataclass(frozen=True)
class Site:
    """Where the site begins, a row for each page (name, pictures, size), and what went wrong, in sentences."""

    index: Path
    rows: list[tuple[str, str, str]]
    failed: list[str]


@dataclass(frozen=True)
class Made:
    """One finished page."""

    title: str
    says: str
    text: str
    pictures: int
    trouble: str = ""


def site(
    to: Path,
    notebooks: Sequence[str] = (),
    *,
    scale: str = "lesson",
    jobs: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> Site:
    """Run the notebooks (default: all), keep what their views show, and write pages of them with an index.

    What was made before is made again only where a notebook, labkit or the scale has changed. `say` hears of each page.
    Raises: LabError when there is no such notebook, or the folder is not ours.
    """
    names = [_named(name) for name in notebooks] or cells.notebook_names()
    require_ours(to, KIND)
    made: dict[str, Made] = {}
    stamp = _stamp(scale, names)
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        running = {pool.submit(_page, name, names, scale, stamp): (name, time.monotonic()) for name in names}
        for done in as_completed(running):
            name, began = running[done]
            made[name] = one = done.result()
            told = (
                one.trouble
                or f"{one.pictures} pictures, {len(one.text) / 1e6:.1f} MB, {time.monotonic() - began:.0f} s"
            )
            say(f"[{len(made)} of {len(names)}] {name}: {told}")
    with whole(to, KIND) as growing:
        _assets(growing / "assets")
        for name in names:
            place = growing / Path(name).with_suffix(".html")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(made[name].text, encoding="utf-8")
        (growing / "index.html").write_text(_index({name: made[name] for name in names}, scale), encoding="utf-8")
    rows = [
        (name.removesuffix(".ipynb"), str(made[name].pictures), f"{len(made[name].text) / 1e6:.1f} MB")
        for name in names
    ]
    return Site(
        to.resolve() / "index.html", rows, [f"{name}: {made[name].trouble}" for name in names if made[name].trouble]
    )


def _named(name: str) -> str:
    path, folder = cells.find(name), cells.notebooks_folder().resolve()
    if not path.resolve().is_relative_to(folder):
        raise LabError(f"The site is made of the notebooks in {folder}; {path} is another one.")
    return path.resolve().relative_to(folder).as_posix()


def _page(name: str, names: Sequence[str], scale: str, stamp: str) -> Made:
    """One page, from the cache where nothing has changed."""
    source = cells.notebooks_folder() / name
    key = hashlib.sha256(f"{stamp} {name} ".encode() + source.read_bytes()).hexdigest()[:24]
    stored = _cache() / f"{key}.json"
    if stored.is_file():
        return Made(**json.loads(stored.read_text(encoding="utf-8")))
    one = _made(name, names, scale)
    if not one.trouble:
        stored.parent.mkdir(parents=True, exist_ok=True)
        part = stored.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(one.__dict__), encoding="utf-8")
        os.replace(part, stored)
    return one


def _made(name: str, names: Sequence[str], scale: str) -> Made:
    notebook, trouble = cells.read(cells.notebooks_folder() / name), ""
    with tempfile.TemporaryDirectory(prefix="labkit-site-") as kept:

        def last(ran: cells.Notebook) -> str:
            outputs = [one for cell in ran.cells if cell.cell_type == "code" for one in cell.outputs]
            views = [one.data[VIEW]["model_id"] for one in outputs if VIEW in one.get("data", {})]
            return f"from labkit.workshop.building.shown import keep\n\nkeep({views!r}, {kept!r})"

        try:
            execute(notebook, (cells.notebooks_folder() / name).parent, scale=scale, last=last)
        except LabError as error:
            trouble = str(error)
        made = Page(name, set(names), Path(kept))
        text = made.whole(notebook, _around(name, names, scale, trouble))
    return Made(cells.title(notebook), introduction(notebook), text, made.pictures, trouble)


def _around(name: str, names: Sequence[str], scale: str, trouble: str) -> dict[str, str]:
    """Where a page stands: the way to the index, and to its neighbours."""
    root, place = "../" * name.count("/"), list(names).index(name)
    near = {"BEFORE": names[place - 1] if place else "", "AFTER": names[place + 1] if place + 1 < len(names) else ""}
    words = {"BEFORE": "← before", "AFTER": "next →"}
    links = {
        key: f'<a href="{root}{html.escape(other.removesuffix(".ipynb"), quote=True)}.html">{words[key]}</a>'
        if other
        else ""
        for key, other in near.items()
    }
    said = f"This page was made without its end: {trouble} " if trouble else ""
    said += "Its trainings were cut short for a test. " if scale == "smoke" else ""
    return {"ROOT": root, "NOTE": f'<p class="note">{html.escape(said)}</p>' if said else "", **links}


def _index(made: dict[str, Made], scale: str) -> str:
    chapters: dict[str, list[str]] = {}
    for name, one in made.items():
        chapter = name.split("/")[0].lstrip("0123456789_").replace("_", " ").capitalize() if "/" in name else FIRST
        views = f"{one.pictures} pictures" if one.pictures != 1 else "1 picture"
        chapters.setdefault(chapter, []).append(
            f'<li><a href="{html.escape(name.removesuffix(".ipynb"), quote=True)}.html">{html.escape(one.title)}</a>'
            f"<p>{html.escape(one.says)} <span>{views}</span></p></li>"
        )
    parts = [
        f"<section><h2>{html.escape(head)}</h2><ul>{''.join(rows)}</ul></section>" for head, rows in chapters.items()
    ]
    note = '<p class="note">The trainings of these pages were cut short for a test.</p>' if scale == "smoke" else ""
    return page("site_index.html", CHAPTERS="\n".join(parts), COUNT=str(len(made)), NOTE=note)


def _assets(folder: Path) -> None:
    """What all pages share: plotly.js, labkit's own widgets, formulas, and the style."""
    from pygments.formatters import HtmlFormatter

    folder.mkdir(parents=True, exist_ok=True)
    light, dark = (HtmlFormatter(style=style) for style in ("default", "github-dark"))
    style = (HERE / "site.css").read_text(encoding="utf-8") + light.get_style_defs(".highlight")
    style += dark.get_style_defs('[data-theme="dark"] .highlight') + lite_figure.STYLE + array_explorer.STYLE
    begin = (HERE / "site.js").read_text(encoding="utf-8")
    widgets, _, rest = page_script().rpartition("begin();")
    if rest.strip():
        raise LabError("The script of exported pages does not end in begin(); any more: the site cannot use it.")
    texts = {"plotly.js": get_plotlyjs(), "labkit.js": f"(async () => {{\n{widgets}\n{begin}\n}})();\n"}
    for name, text in (texts | {"formulas.js": formulas_script(), "site.css": style}).items():
        (folder / name).write_text(text, encoding="utf-8")


def _cache() -> Path:
    home = os.environ.get("LABKIT_HOME")
    return (Path(home) if home else cells.ROOT / ".labkit") / "pages"


def _stamp(scale: str, names: Sequence[str]) -> str:
    """What a page depends on beside its notebook: labkit's own code, the recorded runs, the scale, and its neighbours."""
    found = hashlib.sha256(f"{scale} {list(names)}".encode())
    runs = cells.ROOT / "assets" / "runs"
    for path in sorted([*(cells.ROOT / "labkit").rglob("*.*"), *(runs.rglob("*") if runs.is_dir() else ())]):
        if path.is_file() and path.suffix in (".py", ".js", ".css", ".html", ".nc", ".json"):
            found.update(f"{path.relative_to(cells.ROOT)} ".encode() + path.read_bytes())
    return found.hexdigest()
