"""`bench faults`: runs that are killed, stopped and signalled at random and resumed until done, compared with undisturbed runs."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Any

from distalex.bench.faults_attempt import LONGEST, PROCESSES, Attempt, marked_processes, start_attempt
from distalex.bench.faults_kinds import FAULTS
from distalex.bench.faults_report import Tally, differences, report
from distalex.bench.options import FaultsOptions
from distalex.bench.results import make_result, open_folder, write_result


def bench_faults(options: FaultsOptions) -> dict[str, Any]:
    """Strike runs on random topologies until `kills` faults are spent; print a table and write OUT/faults-TIME.json.

    Each run is resumed until it is done, and must then equal, to the bit, an undisturbed run of the same topology.
    """
    folder = open_folder(options.out)
    chance = random.Random(options.seed)
    tallies = {name: Tally() for name in FAULTS}
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        undisturbed: dict[str, Path] = {}
        while _spent(tallies) < options.kills:
            parallel = chance.choice(options.modes or tuple(PROCESSES))
            if parallel not in undisturbed:
                attempt = start_attempt(Path(place), f"undisturbed-{parallel}", parallel)
                assert attempt.wait() == 0, attempt.log.read_text()[-2000:]
                undisturbed[parallel] = attempt.folder
            name = f"struck-{len(runs)}-{parallel}"
            struck = _strike_until_done(Path(place), name, parallel, chance, tallies, options.kills)
            problems = differences(undisturbed[parallel], struck)
            runs.append({"parallel": parallel, "problems": problems})
            print(f"{_spent(tallies)} faults; {name}: {'; '.join(problems) or 'equal to the bit'}", flush=True)
    problems = [problem for run in runs for problem in run["problems"]]
    result = make_result(
        options,
        {
            "runs": runs,
            "faults": {name: tally.numbers() for name, tally in tallies.items() if tally.count},
            "failed": problems + [wrong for tally in tallies.values() for wrong in tally.wrong],
        },
    )
    print(report(result))
    write_result(result, folder)
    return result


def _spent(tallies: dict[str, Tally]) -> int:
    return sum(tally.count for tally in tallies.values())


def _strike_until_done(place: Path, name: str, parallel: str, chance: random.Random, tallies: dict[str, Tally], most: int) -> Path:
    """Start and resume one run until it is done, each attempt but the last ended by a fault; returns its directory."""
    undone = 0
    while True:
        attempt = start_attempt(place, name, parallel)
        kind = None if _spent(tallies) >= most else _draw_kind(attempt, chance)
        if kind is not None and FAULTS[kind].wait(attempt, chance):
            _strike(attempt, kind, chance, tallies[kind])
            continue
        status = attempt.wait()
        attempt.kill()
        if status:
            tallies[kind or "SIGTERM"].wrong.append(f"{name} ended without a fault, with status {status}: {attempt.last_line}")
        undone += 1
        if status in (0, -1) or undone > 3:
            return attempt.folder


def _draw_kind(attempt: Attempt, chance: random.Random) -> str:
    kinds = [kind for kind, fault in FAULTS.items() if attempt.processes > 1 or not fault.several]
    return chance.choices(kinds, [FAULTS[kind].weight for kind in kinds])[0]


def _strike(attempt: Attempt, kind: str, chance: random.Random, tally: Tally) -> None:
    """Strike, wait for all processes to end, and count what it cost and what went wrong."""
    fault = FAULTS[kind]
    before, struck = attempt.step, time.monotonic()
    fault.strike(attempt, chance)
    status = attempt.wait()
    while any(marked_processes(attempt.mark)) and time.monotonic() - struck < LONGEST:
        time.sleep(0.05)
    tally.count += 1
    tally.seconds.append(time.monotonic() - struck)
    attempt.kill()
    saved = max((int(path.stem[5:]) for path in (attempt.folder / "checkpoints").glob("step-*.pt")), default=0)
    tally.lost.append(max(0, max(before, attempt.step) - saved))
    allowed = (*fault.statuses, 0, *((1,) if attempt.processes > 1 else ()))  # 0: it was done before the fault struck
    if fault.statuses and status not in allowed:
        tally.wrong.append(f"{kind}: {attempt.folder.name} ended with status {status}: {attempt.last_line}")
    if fault.must_log and status and fault.must_log not in attempt.logged:
        tally.wrong.append(f"{kind}: {attempt.folder.name} did not log '{fault.must_log}': {attempt.last_line}")
