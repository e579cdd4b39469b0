"""Where a run comes from, in one line for people: scale, seeds, duration, code, versions, machine."""

from datetime import datetime
from html import escape
from typing import Any


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 2 min 5 s."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def provenance(scale: str, facts: dict[str, Any]) -> str:
    """The facts that a recorded run carries, as one paragraph of HTML; what it does not carry is left out."""
    seeds = facts.get("seeds")
    versions = facts.get("versions") or {}
    parts = [
        f"scale “{scale}”" if scale else "",
        f"{len(seeds)} seeds ({', '.join(map(str, seeds))})" if seeds else "",
        f"{facts['steps']:,} training steps each" if facts.get("steps") else "",
        f"took {duration(facts['duration_s'])}" if facts.get("duration_s") is not None else "",
        f"recorded {_day(facts['started'])}" if facts.get("started") else "",
        f"code at {facts['commit']}" if facts.get("commit") else "",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"{facts['machine']}, {facts['threads']} thread{'s' if facts['threads'] != 1 else ''}"
        if facts.get("machine") and facts.get("threads")
        else "",
    ]
    told = " · ".join(escape(part) for part in parts if part)
    return f'<p class="provenance soft"><strong>Where this comes from:</strong> {told}</p>' if told else ""


def _day(moment: str) -> str:
    try:
        return datetime.fromisoformat(moment).strftime("%-d %B %Y")
    except ValueError:
        return moment
