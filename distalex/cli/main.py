"""The entry of every command: options are checked before PyTorch is imported and before any work starts."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from distalex import __version__
from distalex.cli.commands import COMMANDS, Command
from distalex.cli.failures import leave_cause, lost_a_peer, print_failure
from distalex.config.schema import nearest
from distalex.errors import TrainingError, UserError
from distalex.machine.home import provide_home
from distalex.parallel.launchers import set_ranks


def entry(command: str | None = None) -> None:
    """Run `command`, or the one that the first argument names, and exit with its status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a locale without the letters of a file's name
            stream.reconfigure(errors="backslashreplace")
    try:
        status = main(sys.argv[1:] if command is None else [command, *sys.argv[1:]])
    except SystemExit as leaving:  # raised by a signal's handler
        status = int(leaving.code or 0)
    _flush()
    if os.environ.get("WORLD_SIZE", "1") != "1":
        leave(status)
    sys.exit(status)


def _flush() -> None:
    """Write what is left of the output; drop it where its reader is gone, as after `| head`, or Python reports that at its end."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave(status: int) -> NoReturn:
    """End this process without finalising the interpreter.

    A gloo thread that releases a tensor during finalisation aborts the process with SIGABRT (pytorch#190489).
    """
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # a pipe whose reader is gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def main(arguments: Sequence[str]) -> int:
    """Run the command that the first argument names.

    Returns the exit status: 0 done; 1 a defect of distalex, failed training, or runs that `compare` finds to differ; 2 a mistake of the
    user, one line on stderr; 128 + a signal.
    """
    name = arguments[0] if arguments else "--help"
    try:
        if name in ("--help", "-h", "help"):
            print(overview())
            return 0 if arguments else 2
        if name in ("--version", "-V"):
            print(f"distalex {__version__}")
            return 0
        command, rest = _command(arguments)
        if "--help" in rest or "-h" in rest:
            print(command.help())
            return 0
        provide_home()
        set_ranks(os.environ)
        status = command.run(rest)
        if status > 128:
            leave_cause(f"distalex {name}: stopped by {signal.Signals(status - 128).name}, after saving")
        return status
    except (UserError, TrainingError) as error:
        print_failure(f"distalex {name}: {error}")
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if lost_a_peer(error):
            print_failure(f"distalex {name}: another process of this job has ended; its own message says why", later=60)
        else:
            traceback.print_exc()
            leave_cause(traceback.format_exc())
        return 1


def _command(arguments: Sequence[str]) -> tuple[Command, list[str]]:
    """The command that the first word names, or the first two, and the arguments that follow. Raises UserError where none is."""
    for words in (2, 1):
        if command := COMMANDS.get(" ".join(arguments[:words])):
            return command, list(arguments[words:])
    known = [name for name in COMMANDS if " " not in name]
    raise UserError(f"{arguments[0]}: no such command{nearest(arguments[0], known)}; there are {', '.join(known)}")


def overview() -> str:
    """The text of `distalex --help`: every command with its purpose."""
    lines = [f"distalex {__version__}: AlexNet on one to many devices\n", "Commands (each has --help):"]
    lines += [f"  {name:<9} {command.purpose}" for name, command in COMMANDS.items() if " " not in name]
    return "\n".join([*lines, "\nStart with: python -m distalex.train --config=digits"])
