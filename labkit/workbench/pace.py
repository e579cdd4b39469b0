"""How long a notebook trains: its own length, or a twentieth of it where LABKIT_SCALE=smoke (the tests) says so."""

import os


def scale() -> str:
    """The scale that notebooks and controls start with: "lesson", or what LABKIT_SCALE names."""
    return os.environ.get("LABKIT_SCALE", "lesson")


def pace(steps: int) -> int:
    """So many training steps at lesson scale; a twentieth, but at least 2, at smoke scale."""
    return max(2, steps // 20) if scale() == "smoke" else steps
