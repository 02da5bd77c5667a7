"""`bench faults`: runs that are struck at random and resumed until done, compared with undisturbed runs."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distalex.bench.faults_attempt import LONGEST, PROCESSES, Attempt, start_attempt, write_images
from distalex.bench.faults_kinds import FAULTS, Fault
from distalex.bench.faults_report import Tally, differences, report
from distalex.bench.options import FaultsOptions
from distalex.bench.programs import marked
from distalex.bench.results import make_result, open_folder, write_result
from distalex.errors import UserError


def bench_faults(options: FaultsOptions) -> dict[str, Any]:
    """Strike runs on random topologies until `kills` faults are spent; print a table and write OUT/faults-TIME.json.

    Each run is resumed until it is done, and must then equal, to the bit, an undisturbed run of the same topology.
    """
    folder = open_folder(options.out)
    chance = random.Random(options.seed)
    tallies = {name: Tally() for name in FAULTS if any(word in name for word in options.only or ("",))}
    if not tallies:
        raise UserError(f"only={','.join(options.only)}: no fault has such a name; there are {'; '.join(FAULTS)}")
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        images = Path(place) / "images"
        write_images(images)
        undisturbed: dict[str, Path] = {}
        while _spent(tallies) < options.kills:
            parallel = chance.choice(options.modes or tuple(PROCESSES))
            if parallel not in undisturbed:
                attempt = start_attempt(Path(place), f"undisturbed-{parallel}", parallel, images)
                assert attempt.wait() == 0, attempt.log.read_text()[-2000:]
                undisturbed[parallel] = attempt.folder
            name = f"struck-{len(runs)}-{parallel}"
            run = Struck(Path(place), name, parallel, shutil.copytree(images, Path(place) / f"{name}-images"))
            struck = run.strike_until_done(chance, tallies, options.kills)
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


@dataclass(frozen=True)
class Struck:
    """A run that is struck."""

    place: Path
    """Folder of the runs."""
    name: str
    parallel: str
    data: Path
    """Its own folder of images."""

    def strike_until_done(self, chance: random.Random, tallies: dict[str, Tally], most: int) -> Path:
        """Start and resume the run until it is done, each attempt but the last ended by a fault; return its directory."""
        undone, is_done = 0, False
        while True:
            kind = None if is_done or _spent(tallies) >= most else self._draw_kind(list(tallies), chance)
            attempt = self._attempt(FAULTS[kind] if kind else Fault(), chance)
            if kind is not None and FAULTS[kind].wait(attempt, chance):
                is_done = _strike(attempt, kind, chance, tallies[kind]) == 0
                continue
            status = attempt.wait()
            attempt.kill()
            if status:
                tallies[kind or next(iter(tallies))].wrong.append(
                    f"{self.name} ended without a fault, with status {status}: {attempt.last_line}"
                )
            undone += 1
            if status in (0, -1) or undone > 3:
                return attempt.folder

    def _draw_kind(self, kinds: list[str], chance: random.Random) -> str | None:
        """A kind of fault for the next attempt; data changes only where there is a checkpoint to resume from."""
        is_saved = any((self.place / self.name / "checkpoints").glob("step-*.pt"))
        several = PROCESSES[self.parallel] > 1
        possible = [kind for kind in kinds if (several or not FAULTS[kind].several) and (is_saved or not FAULTS[kind].change)]
        return chance.choices(possible, [FAULTS[kind].weight for kind in possible])[0] if possible else None

    def _attempt(self, fault: Fault, chance: random.Random) -> Attempt:
        """Start the run, with what strikes inside its processes, or on changed data."""
        inside = ""
        if fault.inside:
            rank = chance.randrange(PROCESSES[self.parallel]) if fault.on_any_rank else 0
            inside = json.dumps([{"kind": fault.inside, "rank": rank, "at": chance.randint(1, fault.events)}])
        if fault.change is None:
            return start_attempt(self.place, self.name, self.parallel, self.data, inside)
        kept = self.data.with_name("kept")
        shutil.copytree(self.data, kept)
        fault.change(self.data, chance)
        attempt = start_attempt(self.place, self.name, self.parallel, self.data)
        attempt.wait()
        shutil.rmtree(self.data)
        kept.rename(self.data)
        return attempt


def _strike(attempt: Attempt, kind: str, chance: random.Random, tally: Tally) -> int:
    """Strike, wait for all processes to end, and count what it cost and what went wrong. Returns the exit status."""
    fault = FAULTS[kind]
    before, struck = attempt.step, time.monotonic()
    fault.strike(attempt, chance)
    status = attempt.wait()
    while any(marked(attempt.mark)) and time.monotonic() - struck < LONGEST:
        time.sleep(0.05)
    tally.count += 1
    tally.seconds.append(time.monotonic() - struck)
    attempt.kill()
    saved = max((int(path.stem[5:]) for path in (attempt.folder / "checkpoints").glob("step-*.pt")), default=0)
    tally.lost.append(max(0, max(before, attempt.step) - saved))
    done = () if fault.change else (0,)  # it was done before the fault struck
    allowed = (*fault.statuses, *done, *((1,) if attempt.processes > 1 else ()))
    if fault.statuses and status not in allowed:
        tally.wrong.append(f"{kind}: {attempt.folder.name} ended with status {status}: {attempt.last_line}")
    if fault.must_log and status and fault.must_log not in attempt.logged:
        tally.wrong.append(f"{kind}: {attempt.folder.name} did not log '{fault.must_log}': {attempt.last_line}")
    return status
