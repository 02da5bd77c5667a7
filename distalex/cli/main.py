"""The commands. Everything is checked here before anything heavy is imported and before any work starts.

Fire turns the command line into words and options, all of them text; the typed configuration reads their values.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from distalex import __version__
from distalex.cli.commands import COMMANDS, SHOW
from distalex.cli.failures import complain, lost_a_peer, tell_torchrun
from distalex.cli.parse import parse
from distalex.config.schema import nearest
from distalex.errors import TrainingError, UserError


def entry(command: str | None = None) -> None:
    """Run `command`, or the one that the first argument names, and exit with its status."""
    try:
        status = main(sys.argv[1:] if command is None else [command, *sys.argv[1:]])
    except SystemExit as leaving:  # of a signal's handler
        status = int(leaving.code or 0)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        _leave(status)
    sys.exit(status)


def _leave(status: int) -> NoReturn:
    """End this process without taking the interpreter down.

    A thread of gloo that lets go of a tensor just then ends it with "terminate called" and SIGABRT instead (pytorch#190489).
    """
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # of a pipe that nobody reads any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 done, 1 our fault, failed training or runs that part, 2 the user's mistake, 128 + a signal."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"distalex {__version__}")
        return 0
    name, *rest = arguments
    try:
        if name not in COMMANDS:
            raise UserError(f"{name}: no such command{nearest(name, list(COMMANDS))}; there are {', '.join(COMMANDS)}")
        command = SHOW if name == "prepare" and rest[:1] == ["show"] else COMMANDS[name]
        if "--help" in rest or "-h" in rest:
            print(f"{command.purpose}\n\nUsage: {command.usage}\n{command.help()}")
            return 0
        status = command.run(parse(rest))
        if status > 128:
            tell_torchrun(f"distalex {name}: ended by {signal.Signals(status - 128).name}, after what there was to save was saved")
        return status
    except (UserError, TrainingError) as error:
        complain(f"distalex {name}: {error}")
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if lost_a_peer(error):
            complain(f"distalex {name}: another process of this job has ended; its own message says why", later=60)
        else:
            traceback.print_exc()
            tell_torchrun(traceback.format_exc())
        return 1


def overview() -> str:
    lines = [f"distalex {__version__}: AlexNet on one to many devices\n", "Commands (each has --help):"]
    lines += [f"  {name:<9} {command.purpose}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "\nStart with: python -m distalex.train --config=digits"])
