"""Hosts on this machine: network namespaces joined by links that can be slow or cut. For root on Linux, with iproute2."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from distalex.errors import UserError

PREFIX = "10.200.0"
"""Network of the hosts' IPv4 addresses; PREFIX6 that of IPv6."""
PREFIX6 = "fd00:200:"
INTERFACE = "eth0"
BURST = "256kb"
QUEUED = "100ms"  # longest time that a packet waits in a full queue, before it is dropped


def why_not() -> str:
    """Return what this machine lacks for a laboratory, or an empty string."""
    if os.name != "posix" or not Path("/proc/self/ns/net").exists():
        return "network namespaces exist on Linux only"
    missing = [tool for tool in ("ip", "tc", "unshare") if shutil.which(tool) is None]
    if missing:
        return f"no {' and no '.join(missing)} here; install Debian's iproute2 and util-linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"dlx{os.getpid()}try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces are not allowed here ({made.stderr.strip()})"
    usable = subprocess.run(["ip", "netns", "exec", name, "unshare", "--uts", "true"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    return f"namespaces cannot be entered here ({usable.stderr.strip()})" if usable.returncode else ""


@dataclass
class Host:
    """One host: a network namespace with one interface. Its own name, `host1`, does not resolve, not even there.

    Others know it as `node1`, or `node1-6` for IPv6, and as `debian1`, which on the host itself is 127.0.1.1, as Debian has it.
    """

    number: int
    """From 1."""
    namespace: str
    switch: str
    """The namespace in which the links meet."""
    rate: str
    """Of its link, as tc writes it, such as `1gbit`; empty for no limit."""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the host calls itself."""
        return f"host{self.number}"

    @property
    def alias(self) -> str:
        """A name under which all hosts know it."""
        return f"node{self.number}"

    @property
    def address(self) -> str:
        """Its IPv4 address."""
        return f"{PREFIX}.{self.number}"

    @property
    def address6(self) -> str:
        """Its IPv6 address."""
        return f"{PREFIX6}:{self.number}"

    @property
    def port(self) -> str:
        """The other end of its link."""
        return f"port{self.number}"

    def command(self, command: Sequence[str]) -> list[str]:
        """The command of this machine that runs a command on the host."""
        return [
            *("ip", "netns", "exec", self.namespace),
            *("unshare", "--uts", "sh", "-c", f'hostname {self.name}; exec "$@"', "sh"),
            *command,
        ]

    def start(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
        """Start a command on the host, in a session of its own; standard output and errors go to the end of `log`."""
        with open(log, "ab") as file:
            started = subprocess.Popen(
                self.command(command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, **environment},
                cwd=folder,
                start_new_session=True,
            )
        self.processes.append(started)
        return started

    def alive(self) -> list[int]:
        """Numbers of the processes that run on the host."""
        found = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True)
        return [int(word) for word in found.stdout.split()]

    def kill(self) -> None:
        """End all processes of the host at once, as a power failure would."""
        while running := self.alive():
            for number in running:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            for process in self.processes:
                process.poll()
            time.sleep(0.02)

    def cut(self, sending: bool = True, receiving: bool = True) -> None:
        """Lose every packet that the host sends, or that it is sent, or both, without a word to anybody."""
        if sending:
            _run("tc", "-n", self.namespace, "qdisc", "replace", "dev", INTERFACE, "root", "blackhole")
        if receiving:
            _run("tc", "-n", self.switch, "qdisc", "replace", "dev", self.port, "root", "blackhole")

    def mend(self) -> None:
        """Let packets pass again, at the link's rate."""
        for namespace, device in ((self.namespace, INTERFACE), (self.switch, self.port)):
            if self.rate:
                shape = ["tbf", "rate", self.rate, "burst", BURST, "latency", QUEUED]
                _run("tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", *shape)
            else:
                subprocess.run(["tc", "-n", namespace, "qdisc", "delete", "dev", device, "root"], capture_output=True)

    def bytes_sent(self) -> int:
        """Bytes that have left its interface, with the headers of Ethernet, IP and TCP."""
        shown = subprocess.run(["ip", "-n", self.namespace, "-s", "-j", "link", "show", INTERFACE], capture_output=True, check=True)
        counted: dict[str, Any] = json.loads(shown.stdout)[0]
        return int(counted["stats64"]["tx"]["bytes"])


class Laboratory:
    """So many hosts, joined by a switch, while the context is open.

    Args:
        hosts: number of hosts, 2 to 4.
        rate: of every host's link, in each direction, as tc writes it, such as `1gbit`; empty for no limit.

    Raises:
        UserError: this machine cannot have network namespaces.
    """

    def __init__(self, hosts: int, rate: str = "") -> None:
        if reason := why_not():
            raise UserError(f"no laboratory of hosts: {reason}")
        prefix = f"dlx{os.getpid()}"
        self.switch = f"{prefix}-switch"
        self.hosts = [Host(number, f"{prefix}-host{number}", self.switch, rate) for number in range(1, hosts + 1)]

    def __enter__(self) -> Laboratory:
        try:
            _run("ip", "netns", "add", self.switch)
            _run("ip", "-n", self.switch, "link", "add", "switch", "type", "bridge")
            _run("ip", "-n", self.switch, "link", "set", "switch", "up")
            for host in self.hosts:
                self._add(host)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._remove()

    def _add(self, host: Host) -> None:
        inside, port = host.namespace, host.port
        known = "".join(f"{one.address} {one.alias}\n{one.address6} {one.alias}-6\n" for one in self.hosts)
        known += "".join(f"{'127.0.1.1' if one is host else one.address} debian{one.number}\n" for one in self.hosts)
        hosts_file = Path("/etc/netns") / inside / "hosts"  # `ip netns exec` puts it over /etc/hosts
        hosts_file.parent.mkdir(parents=True)
        hosts_file.write_text(f"127.0.0.1 localhost\n{known}")
        _run("ip", "netns", "add", inside)
        _run("ip", "link", "add", port, "netns", self.switch, "type", "veth", "peer", "name", INTERFACE, "netns", inside)
        _run("ip", "-n", self.switch, "link", "set", port, "master", "switch", "up")
        _run("ip", "-n", inside, "address", "add", f"{host.address}/24", "dev", INTERFACE)
        _run("ip", "-n", inside, "address", "add", f"{host.address6}/64", "dev", INTERFACE, "nodad")
        for device in ("lo", INTERFACE):
            _run("ip", "-n", inside, "link", "set", device, "up")
        host.mend()

    def _remove(self) -> None:
        for host in self.hosts:
            host.kill()
            subprocess.run(["ip", "netns", "delete", host.namespace], capture_output=True)
            shutil.rmtree(Path("/etc/netns") / host.namespace, ignore_errors=True)
        subprocess.run(["ip", "netns", "delete", self.switch], capture_output=True)
        with suppress(OSError):
            Path("/etc/netns").rmdir()


def _run(*command: str) -> None:
    """Run one of iproute2's tools. Raises UserError with what it says."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"no laboratory of hosts: {' '.join(command)}: {done.stderr.strip()}")
