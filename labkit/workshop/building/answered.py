"""Put an answer into its exercise: of the exercise's cell, what the solution defines is replaced by what it says."""

import ast

from labkit.errors import LabError


def answered(exercise: str, solution: str) -> str:
    """The exercise's code with the solution in the place of what was left open; the rest of the cell stays.

    Raises: LabError when the solution defines nothing that the exercise leaves open.
    """
    lines, open_parts = exercise.split("\n"), ast.parse(exercise).body
    given = {name for part in ast.parse(solution).body for name in names(part)}
    places = [part for part in open_parts if given & set(names(part))]
    if not places:
        raise LabError(
            f"The solution defines {', '.join(sorted(given)) or 'nothing'}, and the exercise asks for another."
        )
    whole = lines[: _start(places[0]) - 1] + solution.split("\n")
    for part, after in zip(places, [*places[1:], None]):
        whole += lines[part.end_lineno : _start(after) - 1 if after else None]
    return "\n".join(whole)


def names(part: ast.stmt) -> list[str]:
    """What a statement defines."""
    if isinstance(part, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return [part.name]
    targets = part.targets if isinstance(part, ast.Assign) else [part.target] if isinstance(part, ast.AnnAssign) else []
    return [one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)]


def is_open(source: str) -> bool:
    """Whether a cell still has three dots where an answer belongs."""
    return any(isinstance(node, ast.Constant) and node.value is ... for node in ast.walk(ast.parse(source)))


def _start(part: ast.stmt) -> int:
    decorators = getattr(part, "decorator_list", [])
    return min([part.lineno, *(one.lineno for one in decorators)])
