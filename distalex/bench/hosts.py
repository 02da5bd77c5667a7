"""`bench hosts`: the paper's network over wires of a given speed, between hosts that are network namespaces of this machine."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from distalex.bench.laboratory import INTERFACE, Host, Laboratory
from distalex.bench.options import HostsOptions
from distalex.bench.paper_run import CLASSES, rates_of, steps_of, training_run
from distalex.bench.results import make_result, open_folder, spread, write_result
from distalex.config.choices import declared_in
from distalex.config.config import MODES, Config
from distalex.config.loading import load_config
from distalex.console import aligned, bytes_text
from distalex.machine.precision import has_bf16
from distalex.machine.resources import cores
from distalex.parallel.topology import layout
from distalex.plan.cost import predict
from distalex.plan.machine import Machine
from distalex.plan.measure import machine_from, measure

WARM_UP = 2  # untimed steps
PORT = 29500
NEXT_STEP_WITHIN = 180.0  # seconds


def bench_hosts(options: HostsOptions) -> dict[str, Any]:
    """Measure every mode at every rate and batch size, print a table and write OUT/hosts-TIME.json with a figure beside it.

    Raises UserError where this machine cannot have network namespaces.
    """
    precision = options.precision if has_bf16(torch.device("cpu")) else "fp32"
    config = load_config(None, {"train.precision": precision, "train.reduce_precision": options.reduce_precision})
    folder = open_folder(options.out)
    processes = {mode: _processes(mode, options) for mode in options.modes}
    runs = []
    for repeat in range(options.repeats):
        for rate in options.rate:
            with Laboratory(options.hosts, rate) as laboratory:
                machines = {count: _machine(laboratory.hosts, count, config, rate) for count in set(processes.values())}
                for batch in options.batches:
                    for mode, count in processes.items():
                        predicted = predict(config, CLASSES, machines[count], mode, count, batch).images_per_second
                        run = {"rate": rate, "batch": batch, "parallel": mode, "processes": count, "repeat": repeat + 1}
                        found = _measure(laboratory.hosts, mode, count, batch, options.steps, config)
                        runs.append({**run, "predicted": predicted, **found})
                        print(_progress(runs[-1]), flush=True)
    result = make_result(
        options,
        {
            "network": f"paper, 224x224, 1000 classes, {precision}",
            "runs": [run for run in runs if "error" not in run],
            "failed": [run for run in runs if "error" in run],
        },
    )
    result["summary"] = summarize(result["runs"])
    print(report(result["summary"]))
    path = write_result(result, folder)
    if result["runs"]:
        from distalex.bench.hosts_figure import draw_hosts

        draw_hosts(result, path.with_suffix(".png"))
    return result


def _processes(mode: str, options: HostsOptions) -> int:
    """Number of processes of a mode: one, or the same number on each host. Raises UserError where the mode cannot have so many."""
    least = declared_in(MODES)[mode].facts["LEAST"]
    processes = 1 if least == 1 else options.hosts * max(1, -(-least // options.hosts))
    layout(mode, processes, 2)
    return processes


def _machine(hosts: Sequence[Host], processes: int, config: Config, rate: str) -> Machine:
    """The planner's machine: layers timed in so many processes that share the cores, links as they are between the hosts."""

    def start(number: int, arguments: list[str]) -> subprocess.Popen[str]:
        host, pipe = hosts[number * len(hosts) // processes], subprocess.PIPE
        environment = {**os.environ, **_environment(processes)}
        return subprocess.Popen(host.command([sys.executable, *arguments]), stdout=pipe, stderr=pipe, text=True, env=environment)

    machine = machine_from(measure(config, CLASSES, processes, "cpu", start), f"hosts at {rate}", config, processes, "cpu")
    return replace(machine, between=machine.reduce, devices_per_node=max(1, processes // len(hosts)))  # whose processes share a link


def _environment(processes: int) -> dict[str, str]:
    """Variables of a process on a host."""
    path = os.pathsep.join(path for path in sys.path if path)
    return {"OMP_NUM_THREADS": str(_threads(processes)), "GLOO_SOCKET_IFNAME": INTERFACE, "PYTHONPATH": path}


def _threads(processes: int) -> int:
    return max(1, cores() // processes)


def _measure(hosts: Sequence[Host], mode: str, processes: int, batch: int, steps: int, config: Config) -> dict[str, Any]:
    """One run: its rates, and the bytes that leave the first host's interface in a step beside those that its processes count."""
    used = hosts[: 1 if processes == 1 else len(hosts)]
    here = processes // len(used)
    with tempfile.TemporaryDirectory() as place:
        folder, log = Path(place), Path(place) / "log"
        words = ["-m", "distalex.train", *training_run(mode, batch, WARM_UP + steps, config.train.precision, folder)]
        words += ["--train.timeout=600", f"--train.reduce_precision={config.train.reduce_precision}"]
        words += [f"--train.threads={_threads(processes)}"]  # each host would take all cores
        for host in used:
            meeting = [f"--nnodes={len(used)}", f"--node_rank={host.number - 1}", f"--master_addr={hosts[0].address}"]
            launcher = ["-m", "torch.distributed.run", *meeting, f"--log_dir={folder}", f"--master_port={PORT}", f"--nproc_per_node={here}"]
            host.start([sys.executable, *(launcher if processes > 1 else []), *words], _environment(processes), folder, log)
        counted = _count_bytes(used[0], folder, WARM_UP + steps)
        statuses = [host.processes[-1].wait() for host in used]
        rows = steps_of(folder)[WARM_UP:]
        if any(statuses) or len(rows) < steps:
            return {"error": (log.read_text(errors="replace").strip().splitlines() or ["no message"])[-1][:300]}
    of_us = statistics.median(sum(row["comm_bytes_by"].values()) for row in rows) * here
    return {**rates_of(rows), "interface_bytes": counted, "counted_bytes": of_us}


def _count_bytes(host: Host, folder: Path, steps: int) -> float:
    """Bytes that leave the interface of `host` in a step, as counted between the end of the warm-up and of the last step but one."""
    seen: dict[int, int] = {}
    changed = time.monotonic()
    while host.processes[-1].poll() is None and len(seen) < steps and time.monotonic() - changed < NEXT_STEP_WITHIN:
        done = len(steps_of(folder))
        if done not in seen:
            seen[done], changed = host.bytes_sent(), time.monotonic()
        time.sleep(0.005)
    timed = {step: count for step, count in seen.items() if WARM_UP <= step < steps}
    if len(timed) < 2:
        return 0.0
    return (timed[max(timed)] - timed[min(timed)]) / (max(timed) - min(timed))


def summarize(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Median rates by link and batch size of every mode, the gain of columns over data parallelism, and bytes by both counts."""
    found = []
    for rate, batch in dict.fromkeys((run["rate"], run["batch"]) for run in runs):
        here = [run for run in runs if (run["rate"], run["batch"]) == (rate, batch)]
        modes = {}
        for mode in dict.fromkeys(run["parallel"] for run in here):
            own = [run for run in here if run["parallel"] == mode]
            keys = ("predicted", "comm_exposed_fraction", "interface_bytes", "counted_bytes")
            medians = {key: statistics.median(run[key] for run in own) for key in keys}
            modes[mode] = {"images_per_second": spread([run["images_per_second"] for run in own]), **medians}
        gain = None
        if {"model", "data"} <= modes.keys():
            gain = modes["model"]["images_per_second"]["median"] / modes["data"]["images_per_second"]["median"]
        found.append({"rate": rate, "batch": batch, "modes": modes, "columns_to_data": gain})
    return found


def _progress(run: dict[str, Any]) -> str:
    start = f"{run['rate']:>8}  batch {run['batch']:>3}  {run['parallel']:<6}"
    if "error" in run:
        return f"{start}  failed: {run['error']}"
    sent = f"{bytes_text(run['interface_bytes'])} on the wire, {bytes_text(run['counted_bytes'])} counted"
    rate = f"{run['images_per_second']:>7,.1f} images/s, predicted {run['predicted']:,.1f}"
    return f"{start}  {rate}  {sent}  exposed {100 * run['comm_exposed_fraction']:.0f} %"


def report(summary: Sequence[dict[str, Any]]) -> str:
    """A table of a summary."""
    rows = [["link", "batch", "parallel", "images/s", "predicted", "on the wire", "counted", "exposed", "columns ÷ data"]]
    for one in summary:
        for mode, of in one["modes"].items():
            gain = f"{one['columns_to_data']:.2f}" if mode == "model" and one["columns_to_data"] else ""
            measured = of["images_per_second"]["median"]
            rates = [f"{measured:,.1f}", f"{of['predicted']:,.1f} ({100 * (of['predicted'] / measured - 1):+.0f} %)"]
            sent = [bytes_text(of[key]) for key in ("interface_bytes", "counted_bytes")]
            rows.append([one["rate"], str(one["batch"]), mode, *rates, *sent, f"{100 * of['comm_exposed_fraction']:.0f} %", gain])
    return "\n" + aligned(rows)
