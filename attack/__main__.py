"""``python -m attack``: campaigns batch by batch, from where the last run ended."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from attack.campaigns import CAMPAIGNS, Batch
from attack.checker import Checker, descriptors
from attack.judge import Findings
from attack.models import checker_model, core_model
from attack.tally import PENDING, Tally, put, summed
from hdl.spec.config import Config
from hdl.spec.presets import PRESET_VALUES
from sim.common.errors import UserError
from sim.common.files import write_text
from sim.common.threads import one_thread
from tests.bench.configs import random_config

SHARES = {"jobs": 10, "layers": 2, "faults": 4, "resets": 1, "tenants": 1, "checker": 2}
"""Campaign -> its share of the time."""

Runner = Callable[[str, int], Findings]


def _config(name: str) -> Config:
    """A preset, or a random configuration by its seed."""
    kind, _, seed = name.partition("-")
    if kind == "random" and seed.isdecimal():
        return random_config(int(seed))
    if name not in PRESET_VALUES:
        raise UserError(f"--config must be a preset or random-SEED, not {name!r}")
    return Config.load(name)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m attack", description=__doc__)
    parser.add_argument("campaign", nargs="*", help=f"of {', '.join(SHARES)}; all by default")
    parser.add_argument("--config", default="tiny", help="preset, or random-SEED: one of the random configurations")
    parser.add_argument("--seconds", type=float, default=300, help="of processor time, shared by the campaigns")
    parser.add_argument(
        "--seed", type=int, help="run the one batch of this seed of the one campaign, and count nothing"
    )
    parser.add_argument("--plain", action="store_true", help="power-up with the initial values, not with random bits")
    parser.add_argument("--json", type=Path, help="write the summary of this run there, too")
    parser.add_argument(
        "--record",
        action="store_true",
        help="only move what was counted into docs/results and docs/verification.md",
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.campaign if name not in SHARES]
    if unknown:
        parser.error(f"campaign must be one of {', '.join(SHARES)}, not {unknown[0]!r}")
    arguments.campaign = arguments.campaign or list(SHARES)
    if arguments.seed is not None and len(arguments.campaign) != 1:
        parser.error("--seed must come with one campaign")
    if arguments.seconds <= 0:
        parser.error(f"--seconds must be above 0, not {arguments.seconds:g}")
    return arguments


def _runner(config: Config, campaigns: list[str], plain: bool) -> Runner:
    """What runs a batch of a campaign; models are built on first use."""
    model = None if plain or campaigns == ["checker"] else core_model(config)
    checker = Checker(checker_model(config)) if "checker" in campaigns else None

    def run(campaign: str, seed: int) -> Findings:
        if checker is not None and campaign == "checker":
            return descriptors(config, checker, seed)
        with Batch(campaign, config, seed, model=model) as batch:
            CAMPAIGNS[campaign](batch)
            return batch.found

    return run


def _line(campaign: str, config: str, counts: dict[str, int]) -> str:
    shown = ("commands", "rows", "values", "faults", "mismatches", "hangs")
    return f"{campaign:8} {config:10} " + "  ".join(f"{counts[name]:,} {name}" for name in shown)


def _replay(run: Runner, campaign: str, seed: int) -> int:
    found = run(campaign, seed)
    print(_line(f"{campaign} {seed}", "", vars(found)))
    for problem in found.problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if found.problems else 0


def _campaigns(run: Runner, arguments: argparse.Namespace, config: str, tally: Tally) -> Findings:
    """Batches until the time is over, each of the campaign that is furthest behind its share."""
    spent = dict.fromkeys(arguments.campaign, 0.0)
    total, begin = Findings(), time.process_time()
    for number in itertools.count():
        if time.process_time() - begin > arguments.seconds:
            return total
        campaign = min(spent, key=lambda name: spent[name] / SHARES[name])
        seed, start = tally.next_seed(config, campaign), time.process_time()
        found = run(campaign, seed)
        spent[campaign] += time.process_time() - start
        tally.add(config, campaign, seed, found)
        total.add(found)
        for problem in found.problems:
            print(f"error: {campaign} of {config}, seed {seed}: {problem}", file=sys.stderr, flush=True)
        if number % 20 == 0:
            print(_line(campaign, f"seed {seed}", vars(total)), flush=True)
    raise AssertionError("unreachable")


def main() -> int:
    arguments = _arguments()
    tally = Tally()
    if arguments.record:
        tally.record()
        put(tally.total())
        return 0
    config = _config(arguments.config)
    run = _runner(config, arguments.campaign, arguments.plain)
    if arguments.seed is not None:
        return _replay(run, arguments.campaign[0], arguments.seed)
    first = {campaign: tally.next_seed(config.name, campaign) for campaign in arguments.campaign}
    found = _campaigns(run, arguments, config.name, tally)
    print()
    for name, campaigns in tally.total().items():
        for campaign, counts in campaigns.items():
            print(_line(campaign, name, counts))
    print(_line("total", "", summed(tally.total())))
    if arguments.json:
        seeds = {name: [first[name], tally.next_seed(config.name, name) - 1] for name in first}
        summary = {"config": config.name, "seeds": seeds, **vars(found)}
        write_text(arguments.json, json.dumps(summary, indent=1) + "\n")
    print(f"{PENDING} has what docs/results/attack.json does not have yet: python -m attack --record")
    return 1 if found.mismatches or found.hangs else 0


if __name__ == "__main__":
    try:
        with one_thread():
            sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
