"""Runs torchrun on this node of a job on several nodes, for launch/multinode.sh, which says what the environment's variables are.

torchrun guesses by the host's name who the head is, and takes that name for its address; here both follow from the addresses of the
interfaces. Its agent can wait without end where the head or a link is lost; here it is ended, and every process with it.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from distalex.machine.addresses import interface_of, is_own, own_address_towards

NAME = "launch/multinode.sh"
LAST_CALL = 10  # seconds that a complete minimum of nodes waits for more
SIGNALLED = 60.0  # seconds for torchrun and its processes to save and end
PER_TRY = 3.0  # seconds to connect
PR_SET_CHILD_SUBREAPER = 36  # prctl(2): orphaned descendants become children of this process


class Head(NamedTuple):
    """The node where the job's processes meet."""

    typed: str
    host: str
    port: int
    address: str
    """The first address of `host` that this node can reach or has."""
    is_here: bool


def find_head(typed: str) -> Head:
    """Resolve HEAD. Exits where it is not HOST or HOST:PORT, or has no address."""
    whole = f"[{typed}]" if typed.count(":") > 1 and "[" not in typed else typed  # IPv6 without a port
    found = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::(\d{1,5}))?", whole)
    if found is None or not 0 < int(found[3] or 29400) < 2**16:
        stop(2, f"HEAD={typed}: give a name or address, and perhaps a port: node01, 10.0.0.1:29400, [fd00::1]:29400")
    host, port = found[1] or found[2], int(found[3] or 29400)
    try:
        addresses = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except OSError as error:
        stop(2, f"HEAD={typed}: this node cannot resolve {host} ({error.strerror}); give its address")
    here = [address for address in addresses if is_own(address)]
    return Head(typed, host, port, (here or addresses)[0], bool(here))


def connection_error(head: Head) -> str:
    """Why the head's port cannot be reached; empty where it can."""
    try:
        socket.create_connection((head.address, head.port), PER_TRY).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def claim(head: Head, job: str) -> list[socket.socket]:
    """Claim the head's port for a job, until the sockets are closed; empty where another part of the same job on this node has it.

    Exits where another job or program has the port.
    """
    claimed = []
    for name in (f"distalex {head.port}", f"distalex {head.port} {job}"):
        one = socket.socket(socket.AF_UNIX)
        with suppress(OSError):
            one.bind(f"\0{name}")  # in Linux's abstract namespace, which belongs to the node and is cleared by the system
            claimed.append(one)
    if not claimed:
        return []
    if len(claimed) == 1 or not connection_error(head):
        other = "job" if len(claimed) == 1 else "program"
        stop(
            2, f"HEAD={head.typed}: another {other} on this node has port {head.port}; give all nodes of this job another: {another(head)}"
        )
    return claimed


def another(head: Head) -> str:
    """HEAD with the next port."""
    host = f"[{head.host}]" if ":" in head.host else head.host
    return f"HEAD={host}:{head.port + 1}"


def wait_for(head: Head, seconds: float) -> None:
    """Wait until the head's port can be reached. Exits after so many seconds."""
    started, said = time.monotonic(), False
    while reason := connection_error(head):
        waited = time.monotonic() - started
        if waited > seconds:
            stop(
                1,
                f"HEAD={head.typed}: {head.address} port {head.port} could not be reached within {seconds:.0f} s (last: {reason}); is "
                f"{NAME} running on that node, is the address right and the port open? WAIT=SECONDS waits longer",
            )
        if waited > 5 and not said:
            print(f"{NAME}: waiting for HEAD={head.typed} ({head.address} port {head.port}: {reason})", file=sys.stderr, flush=True)
            said = True
        time.sleep(1.0)


def torchrun(head: Head, serves: bool, wait: int, options: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start torchrun on this node, which hosts the meeting if it `serves`."""
    try:
        own = own_address_towards(head.address)
    except OSError as error:
        stop(2, f"HEAD={head.typed}: this node has no way to {head.address} ({error.strerror})")
    environment = dict(os.environ)
    if interface := interface_of(own):
        for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            environment.setdefault(variable, interface)
    # One store per restart: in a shared one, restarted processes would find the addresses of dead ones.
    environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    endpoint = f"[{head.address}]:{head.port}" if ":" in head.address else f"{head.address}:{head.port}"
    command = [
        *(sys.executable, "-m", "torch.distributed.run"),
        f"--nnodes={os.environ['NNODES']}",
        f"--nproc_per_node={os.environ['NPROC']}",
        f"--max-restarts={os.environ.get('RESTARTS') or 3}",
        "--rdzv_backend=c10d",
        f"--rdzv_endpoint={endpoint}",
        f"--rdzv_id={os.environ['JOB']}",
        f"--rdzv_conf=is_host={str(serves).lower()},join_timeout={wait + 60},last_call_timeout={LAST_CALL}",
        f"--local_addr={own}",
        *("-m", "distalex.train"),
        *options,
    ]
    return subprocess.Popen(command, env=environment)


def children_of(*parents: int) -> Iterator[int]:
    """Numbers of the processes whose parent is one of these."""
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                state, parent = (place / "stat").read_text().rpartition(")")[2].split()[:2]
                if int(parent) in parents and state != "Z":
                    yield int(place.name)


def end(agent: subprocess.Popen[bytes]) -> None:
    """Kill torchrun, and what it has started."""
    workers = list(children_of(agent.pid))
    for number in (agent.pid, *workers):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    agent.wait()
    while left := list(children_of(os.getpid())):  # of a torchrun that was killed, or deeper
        for number in left:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(0.05)


def watch(agent: subprocess.Popen[bytes], head: Head, wait: float, grace: float) -> int:
    """Wait for torchrun, and end it where it has no training process for long. Returns the exit status of this node.

    `wait`: seconds until the first; `grace`: seconds between two. After SIGTERM or SIGINT, torchrun has SIGNALLED seconds.
    """
    received: dict[int, float] = {}

    def forward(number: int, _: object) -> None:
        received.setdefault(number, time.monotonic())
        agent.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    trained, last = False, time.monotonic()
    while (status := agent.poll()) is None:
        time.sleep(0.25)
        now = time.monotonic()
        if any(children_of(agent.pid)):
            trained, last = True, now
        if received and now - min(received.values()) > SIGNALLED:
            end(agent)
            return 128 + min(received)
        if trained and now - last > grace:
            end(agent)
            return complain(f"no training process has run here for {grace:.0f} s: HEAD={head.typed} or too many nodes are lost")
        if not trained and now - last > wait:
            end(agent)
            return complain(f"HEAD={head.typed}: NNODES={os.environ['NNODES']} nodes did not meet within {wait:.0f} s; were all started?")
    end(agent)
    if status < 0 and not received:
        return complain(f"torchrun was killed (signal {-status}); its training processes were ended")
    if status and not head.is_here and (reason := connection_error(head)):
        return complain(f"HEAD={head.typed} is lost ({reason}), and the job with it; start it again, which resumes the run")
    return abs(status)


def complain(line: str) -> int:
    """Print a line on stderr. Returns 1."""
    print(f"{NAME}: {line}", file=sys.stderr, flush=True)
    return 1


def stop(status: int, line: str) -> NoReturn:
    """Print a line on stderr and exit."""
    complain(line)
    sys.exit(status)


def main(options: Sequence[str]) -> int:
    """Run this node's part of the job. Returns its exit status."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wait, grace = int(os.environ.get("WAIT") or 300), float(os.environ.get("GRACE") or 30)
    head = find_head(os.environ["HEAD"])
    claimed = claim(head, os.environ["JOB"]) if head.is_here else []
    if not claimed:
        wait_for(head, wait)
    return watch(torchrun(head, bool(claimed), wait, options), head, wait, grace)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
