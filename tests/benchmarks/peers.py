"""The layer contract on our layers and on the packages that people would otherwise install: what each fails.

    python tests/benchmarks/peers.py [--save]

Needs the extra `peers`; what is not installed is said. `--save` keeps the result in assets/runs/contract.json.
"""

import sys
import textwrap

from labkit.workbench.scoreboard.correctness import failures, measure, save


def main() -> None:
    result = measure(lambda name, number, of: print(f"{number + 1}/{of} {name}", file=sys.stderr, flush=True))
    for row in result["layers"]:
        failed = failures(row)
        asked = sum(not says.startswith("exempt: ") for says in row["checks"].values())
        passed = f"{asked - len(failed)} of {asked} checks passed"
        print(f"\n{row['name']} ({row['package']} {row['version']}): {passed}")
        for check, says in failed.items():
            print(textwrap.fill(f"{check}: {says}", 110, initial_indent="  - ", subsequent_indent="    "))
    for one in result["absent"]:
        print(f"\n{one['name']}: {one['why']}")
    if "--save" in sys.argv[1:]:
        print(f"\nSaved as {save(result)}")


if __name__ == "__main__":
    main()
