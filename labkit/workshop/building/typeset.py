"""Pages without a network: their frames, and formulas. KaTeX, which Panel brings, writes MathML; the browser sets it."""

import re
from importlib.util import find_spec
from pathlib import Path

from labkit.errors import LabError

SHOW_FORMULAS = """
document.addEventListener("DOMContentLoaded", () => renderMathInElement(document.body, {
  output: "mathml", throwOnError: false, strict: "ignore",
  ignoredTags: ["script", "noscript", "style", "textarea", "pre", "code"],
  delimiters: [
    { left: "$$", right: "$$", display: true }, { left: "\\\\[", right: "\\\\]", display: true },
    { left: "\\\\(", right: "\\\\)", display: false }, { left: "$", right: "$", display: false },
  ],
}));
"""


def page(name: str, **fields: str) -> str:
    """A page of this folder with its fields, written {{LIKE_THIS}}, filled in."""
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    return re.sub(r"\{\{([A-Z_]+)\}\}", lambda found: fields[found[1]], text)


def from_panel(*names: str) -> str:
    """Files that Panel brings with it, one after the other; a name may hold `*`, as where it carries a version.

    Raises: LabError where Panel is not installed, or no longer brings one of them.
    """
    spec = find_spec("panel")
    if spec is None or spec.origin is None:
        raise LabError("Slides and pages take reveal.js and KaTeX from the package panel: pip install 'labkit[lab]'.")
    bundled, texts = Path(spec.origin).parent / "dist" / "bundled", []
    for name in names:
        found = sorted(bundled.glob(name))
        if not found:
            raise LabError(f"This version of panel has no {name}; labkit needs panel 1.9: pip install 'panel>=1.9,<2'.")
        texts.append(found[-1].read_text(encoding="utf-8"))
    return "\n".join(texts)


def formulas_script() -> str:
    """JavaScript that sets every formula between dollar signs on its page."""
    return (
        from_panel("katex/katex@*/dist/katex.min.js", "katex/katex@*/dist/contrib/auto-render.min.js") + SHOW_FORMULAS
    )


def in_script(code: str) -> str:
    """Code that may stand inside a script element."""
    return code.replace("</", "<\\/")
