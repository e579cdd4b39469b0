"""What a student's notebook may tell: four kinds, each with its fields and limits; everything else is refused.

    check   exercise, right, says                 an exercise was checked
    guess   question, points, and once the answer is known area, truth
    value   run, name, step, value                one number of a training
    study   name, seed, arm, value                one seed of a class study

A message is plain data. Nothing in it is ever run, imported, opened as a file or used as a path.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from labkit.workshop.classroom.plain_text import cleaned, shortened

NAME = 40
TITLE, SAYS = 120, 400
POINTS = 200
STEP = 2**53
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
BATCH = 500
"""Messages in one request at most."""
BATCH_BYTES = 256 * 1024


class Refused(ValueError):
    """A message that cannot be taken, with the reason as a sentence."""


def _text(most: int, needed: bool = True) -> Callable[[Any, bool], str]:
    def read(given: Any, cut: bool) -> str:
        if not isinstance(given, str):
            raise Refused("must be text")
        if len(given) > 4 * most:
            if not cut:
                raise Refused(f"is longer than {most} characters")
            given = given[: 4 * most]
        text = cleaned(given)
        if len(text) > most:
            if not cut:
                raise Refused(f"is longer than {most} characters")
            text = shortened(text, most)
        if needed and not text:
            raise Refused("is empty")
        return text

    return read


def _truth(given: Any, cut: bool) -> bool:
    if cut and type(given).__name__ in ("bool_", "bool"):
        return bool(given)
    if not isinstance(given, bool):
        raise Refused("must be true or false")
    return given


def number(given: Any, cut: bool = False) -> float:
    """A number; what is not finite travels as one of the words nan, inf, -inf, since JSON has no sign for it."""
    if isinstance(given, str) and given in NOT_FINITE:
        return NOT_FINITE[given]
    if cut and not isinstance(given, bool | str | bytes):
        try:
            return float(given)  # numpy and torch scalars too
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise Refused("must be a number") from None
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise Refused("must be a number")
    try:
        return float(given)
    except OverflowError:
        raise Refused("is too large a number") from None


def _whole(given: Any, cut: bool) -> int:
    value = number(given, cut)
    if not value.is_integer() or abs(value) > STEP:
        raise Refused("must be a whole number")
    return int(value)


def _points(given: Any, cut: bool) -> list[list[float]]:
    if cut and hasattr(given, "tolist"):
        given = given.tolist()
    if not isinstance(given, list | tuple) or not given:
        raise Refused("must be a list of points [x, y]")
    if len(given) > POINTS:
        if not cut:
            raise Refused(f"has more than {POINTS} points")
        given = [given[round(place * (len(given) - 1) / (POINTS - 1))] for place in range(POINTS)]
    points = []
    for one in given:
        if not isinstance(one, list | tuple) or len(one) != 2:
            raise Refused("must be a list of points [x, y]")
        point = [number(one[0], cut), number(one[1], cut)]
        if not all(map(math.isfinite, point)):
            raise Refused("must have finite points")
        points.append(point)
    return points


FIELDS: dict[str, dict[str, Callable[[Any, bool], Any]]] = {
    "check": {"exercise": _text(TITLE), "right": _truth, "says": _text(SAYS, needed=False)},
    "guess": {"question": _text(TITLE), "points": _points, "area": number, "truth": _points},
    "value": {"run": _text(TITLE), "name": _text(TITLE), "step": _whole, "value": number},
    "study": {"name": _text(TITLE), "seed": _whole, "arm": _text(TITLE), "value": number},
}
OPTIONAL = {"guess": ("area", "truth")}


def read(kind: Any, what: Any, cut: bool = False) -> dict[str, Any]:
    """The fields of one message, checked; with `cut`, as the sender does it, long text and long lists are shortened.

    Raises: Refused with the reason.
    """
    fields = FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None:
        raise Refused(f"A class takes {', '.join(FIELDS)}, and not {shortened(cleaned(str(kind)[:80]), 40)!r}.")
    if not isinstance(what, Mapping) or not all(isinstance(name, str) for name in what):
        raise Refused(f"A {kind} needs its fields by name.")
    strange = sorted(set(what) - set(fields))
    if strange:
        raise Refused(f"A {kind} has no field {shortened(cleaned(strange[0][:80]), 40)!r}; it has {', '.join(fields)}.")
    optional, found = OPTIONAL.get(kind, ()), {}
    for name, check in fields.items():
        if what.get(name) is None:
            if name in optional:
                continue
            raise Refused(f"A {kind} needs {name}.")
        try:
            found[name] = check(what[name], cut)
        except Refused as error:
            raise Refused(f"In a {kind}, {name} {error}.") from None
    return found


def wire(what: Any) -> Any:
    """The fields as JSON can carry them."""
    if isinstance(what, dict):
        return {name: wire(value) for name, value in what.items()}
    if isinstance(what, list | tuple):
        return [wire(value) for value in what]
    if isinstance(what, float) and not math.isfinite(what):
        return "nan" if math.isnan(what) else "inf" if what > 0 else "-inf"
    return what


def named(given: Any) -> str:
    """The name that a student typed, fit to be shown; "someone" where nothing is left of it."""
    if not isinstance(given, str):
        raise Refused("A name must be text.")
    return shortened(cleaned(given[: 20 * NAME]), NAME) or "someone"
