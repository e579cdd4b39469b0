"""The claims of a paper as a table: what it says, the rule that decides, what was measured here, and the verdict."""

import html
from collections.abc import Mapping, Sequence

from labkit.errors import LabError
from labkit.views.theme import FONT
from labkit.views.wording import counted, fixed, number

VERDICTS = {"shown": "✓", "inconclusive": "?", "contradicted": "✗", "out of reach": "–"}
COLUMNS = ("The paper says", "Rule", "We measured", "Seeds", "Verdict")
# The page's own ink comes first (JupyterLab's --jp-*, else --lab-*), then the theme's. The colour of a verdict has a
# contrast of at least 4.5:1 in light and in dark, and always stands with a sign, a shape and a word.
LIGHT = "--shown:#00704F;--contradicted:#B04300;--inconclusive:#6E4300;--beyond:#555D6B"
DARK = "--shown:#3FC79E;--contradicted:#FF8A5C;--inconclusive:#F0B429;--beyond:#AAB2BF"
STYLE = f"""
.lab-claims {{--surface:#FFFFFF;--ink:#1D222B;--line:#C9CED6;--quiet:#555D6B;{LIGHT}}}
.lab-dark .lab-claims,.lab-claims.lab-dark {{--surface:#14171C;--ink:#EDEFF2;--line:#3A414C;--quiet:#AAB2BF;{DARK}}}
[data-jp-theme-light="true"] .lab-claims {{{LIGHT}}}
[data-jp-theme-light="false"] .lab-claims {{{DARK}}}
.lab-claims {{
  --text:var(--jp-content-font-color1,var(--lab-ink,var(--ink)));
  --dim:var(--jp-content-font-color2,var(--lab-quiet,var(--quiet)));
  --rule:var(--jp-border-color2,var(--lab-line,var(--line)));
  background:var(--jp-layout-color0,var(--lab-surface,var(--surface)));
  color:var(--text);font:calc(15px*var(--type,1))/1.45 {FONT};border-collapse:collapse;width:100%;max-width:72rem;margin:.5rem 0}}
.lab-claims caption {{text-align:left;font-weight:600;padding:.2rem .6rem .5rem;color:var(--text)}}
.lab-claims th,.lab-claims td {{
  text-align:left!important;vertical-align:top;padding:.5rem .6rem;border:0;border-bottom:1px solid var(--rule);
  background:transparent;color:var(--text);white-space:normal;overflow-wrap:anywhere}}
.lab-claims thead th {{font-weight:600;color:var(--dim);border-bottom-width:2px;overflow-wrap:normal}}
.lab-claims tbody th {{font-weight:400}}
.lab-claims tbody tr {{background:transparent!important}}
.lab-claims small {{display:block;color:var(--dim);font-size:calc(14px*var(--type,1))}}
.lab-claims .verdict {{font-weight:600;white-space:nowrap}}
.lab-claims .sign {{
  display:inline-block;min-width:1.4em;text-align:center;margin-right:.45em;line-height:1.3;
  border:2px solid currentColor;border-radius:.8em}}
.lab-claims .shown {{color:var(--shown)}}
.lab-claims .contradicted {{color:var(--contradicted)}}
.lab-claims .contradicted .sign {{border-radius:.15em}}
.lab-claims .inconclusive {{color:var(--inconclusive)}}
.lab-claims .inconclusive .sign {{border-style:dashed}}
.lab-claims .out-of-reach {{color:var(--beyond)}}
.lab-claims .out-of-reach .sign {{border-color:transparent}}
@media (max-width:640px) {{
  .lab-claims thead {{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}}
  .lab-claims,.lab-claims tbody,.lab-claims tr,.lab-claims td,.lab-claims tbody th,.lab-claims caption {{display:block}}
  .lab-claims tbody tr {{border-bottom:2px solid var(--rule);padding:.4rem 0}}
  .lab-claims td,.lab-claims tbody th {{border:0;padding:.15rem .6rem}}
  .lab-claims tbody th {{font-weight:600}}
  .lab-claims td::before {{content:attr(data-column) ": ";color:var(--dim)}}
}}
"""


def claims(rows: Sequence[Mapping], *, who: str = COLUMNS[0], dark: bool = False) -> str:
    """An HTML table, one row for each claim; the verdict is a sign, a word and a colour.

    It takes its colours from the page around it where the page has any (JupyterLab, the dashboard); else `dark`
    chooses. `who` stands above what is claimed. On a narrow screen each claim becomes a block.

    Shapes:
        rows: the claims of a recorded run: `says`, `rule`, `measured`, `verdict`, and where there are any `estimate`,
            `low`, `high`, `threshold`, `seeds`, `needs`
    Raises:
        LabError: not a list of such rows, or a verdict that is none of the four.
    """
    if isinstance(rows, str | Mapping) or not isinstance(rows, Sequence):
        raise LabError(f"claims needs the list of claims of a run (run.claims), and got {type(rows).__name__}.")
    if not rows:
        raise LabError("claims needs at least one claim, and got an empty list; this study states none.")
    body = "".join(_row(row) for row in rows)
    verdicts = [str(row["verdict"]) for row in rows]
    tally = ", ".join(f"{verdicts.count(one)} {one}" for one in VERDICTS if one in verdicts)
    head = "".join(f'<th scope="col">{name}</th>' for name in (_text(who), *COLUMNS[1:]))
    return (
        f'<style>{STYLE}</style><table class="lab-claims{" lab-dark" if dark else ""}">'
        f"<caption>{counted(len(rows), 'claim')}: {tally}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _row(row: Mapping) -> str:
    if not isinstance(row, Mapping) or row.get("verdict") not in VERDICTS or not row.get("says"):
        raise LabError(
            f"claims needs rows with `says` and a `verdict` ({', '.join(VERDICTS)}), and found {_excerpt(row)}."
        )
    verdict = str(row["verdict"])
    sign, kind = VERDICTS[verdict], verdict.replace(" ", "-")
    measured = _text(row.get("measured") or "") or _interval(row) or "not measured here"
    needs = f"<small>would need {_text(row['needs'])}</small>" if row.get("needs") else ""
    seeds, over = row.get("seeds"), str(row.get("over") or "seeds")
    repeated = "–" if not seeds else number(seeds) if over == "seeds" else f"{number(seeds)} {_text(over)}"
    cells = [
        f'<th scope="row">{_text(row["says"])}</th>',
        f'<td data-column="{COLUMNS[1]}">{_text(row.get("rule") or "–")}</td>',
        f'<td data-column="{COLUMNS[2]}">{measured}</td>',
        f'<td data-column="{COLUMNS[3]}">{repeated}</td>',
        f'<td data-column="{COLUMNS[4]}"><span class="verdict {kind}"><span class="sign" aria-hidden="true">{sign}'
        f"</span>{verdict}</span>{needs}</td>",
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _interval(row: Mapping) -> str:
    """The estimate with its interval, unless the text says them, and the threshold that it is held against."""
    estimate, low, high, threshold = (row.get(name) for name in ("estimate", "low", "high", "threshold"))
    if estimate is None:
        return ""
    said, parts = "interval" in str(row.get("measured")), []
    spread = (high - low) / 2 if low is not None and high is not None else abs(estimate) / 10
    if not said and low is not None and high is not None:
        parts.append(f"{fixed(estimate, spread)} [{fixed(low, spread)} to {fixed(high, spread)}]")
    elif not said:
        parts.append(fixed(estimate, spread))
    if threshold is not None:
        parts.append(f"threshold {number(threshold)}")
    return f"<small>{', '.join(parts)}</small>" if parts else ""


def _text(value: object) -> str:
    return html.escape(str(value))


def _excerpt(row: object) -> str:
    text = repr(dict(row)) if isinstance(row, Mapping) else repr(row)
    return text if len(text) < 120 else text[:119] + "…"


def example(seed: int = 0) -> dict:
    """Two questions to trained trees, decided over five seeds by the intervals, and one that digits cannot answer."""
    import numpy as np
    from scipy.stats import t

    from labkit.views.specimen import grown

    runs = [grown(seed + run) for run in range(5)]
    plain = [grown(seed + run, 0) for run in range(5)]

    def judged(says: str, rule: str, values: list, threshold: float) -> dict:
        mean = float(np.mean(values))
        half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
        low, high = mean - half, mean + half
        verdict = "shown" if low > threshold else "contradicted" if high < threshold else "inconclusive"
        found = {
            "estimate": mean,
            "low": low,
            "high": high,
            "threshold": threshold,
            "seeds": len(values),
            "needs": None,
        }
        return {"says": says, "rule": rule, "measured": f"mean {mean:.3f}", "verdict": verdict, **found}

    gap = [run.accuracy[-1, 0] - run.accuracy[-1, 1] for run in runs]
    lead = [run.accuracy[-1, 1] - other.accuracy[-1, 1] for run, other in zip(runs, plain)]
    hardens = [run.entropy[0].mean() - run.entropy[-1].mean() for run in runs]
    rows = [
        judged(
            "Training with the entropy loss hardens the decisions.", "entropy falls by more than 0.5 bits", hardens, 0.5
        ),
        judged(
            "One leaf is as good as the mixture.",
            "soft minus hard accuracy is below 0.05",
            [-one for one in gap],
            -0.05,
        ),
        judged("The hard tree beats a linear classifier.", "difference of the test accuracies is above 0", lead, 0.0),
        {
            "says": "At width 3072 & batch 1 a tree answers faster than < 1 % of a dense layer's time.",
            "rule": "ratio of the median times",
            "measured": "",
            "verdict": "out of reach",
            "estimate": None,
            "low": None,
            "high": None,
            "threshold": None,
            "seeds": 0,
            "needs": "a compiled kernel for single rows",
        },
    ]
    return {"rows": rows}
