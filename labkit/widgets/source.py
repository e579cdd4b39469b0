"""The browser's half of the widgets: JavaScript and CSS files that lie in this folder, and whole pages made of them."""

import base64
import html
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from labkit.errors import LabError

FOLDER = Path(__file__).parent
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 960px; margin: 24px auto; padding: 0 16px; background: #ffffff; color: #1d222b;
  font-family: "Inter", "Segoe UI", "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #14171c; color: #edeff2; }} }}
{css}
</style>
<main id="here"></main>
<script type="application/json" id="state">{state}</script>
<script type="module">
{script}
const values = JSON.parse(document.getElementById("state").textContent, (name, value) =>
  value?.bytes === undefined ? value : new DataView(Uint8Array.from(atob(value.bytes), (one) => one.charCodeAt(0)).buffer));
const listeners = {{}};
const model = {{
  get: (name) => values[name],
  set: (name, value) => {{ values[name] = value; (listeners[`change:${{name}}`] ?? []).forEach((call) => call()); }},
  save_changes: () => {{}},
  on: (event, call) => {{ (listeners[event] ??= []).push(call); }},
  off: (event, call) => {{ listeners[event] = (listeners[event] ?? []).filter((one) => one !== call); }},
}};
globalThis.labkitModel = model;
widget.render({{ model, el: document.getElementById("here") }});
</script>
</html>
"""


def source(*names: str) -> str:
    """Files of this folder one after the other, as one module or one stylesheet."""
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in names)


def page(script: str, css: str, values: dict[str, Any], title: str) -> str:
    """One HTML page that shows a widget with these values, from a file and without a network.

    `script` is the widget's module, ending in `export default { render };`, and `values` what its model holds: bytes,
    and anything that JSON can say.
    """
    packed = {
        name: {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in values.items()
    }
    state = json.dumps(packed).replace("<", "\\u003c")
    body, _, exported = script.rpartition("export default")
    script = f"{body}const widget ={exported}".replace("</", "<\\/")
    return PAGE.format(title=html.escape(title), css=css, state=state, script=script)


def write(content: str | bytes, path: Path | str) -> Path:
    """Write a file whole or not at all, and return its path. Raises: LabError where that is not possible."""
    path = Path(path)
    scratch = None
    try:
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as draft:
            scratch = Path(draft.name)
            draft.write(content.encode() if isinstance(content, str) else content)
        os.replace(scratch, path)
    except OSError as error:
        if scratch is not None:
            scratch.unlink(missing_ok=True)
        raise LabError(f"{path} could not be written: {error.strerror or error}.") from error
    return path
