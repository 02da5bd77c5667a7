"""One of the processes that `distalex.fit(processes=N)` starts: `python -m distalex.api FOLDER`; no command for people."""

import pickle
import sys
import traceback
from pathlib import Path

from distalex.cli.failures import lost_a_peer
from distalex.cli.main import leave
from distalex.config.loading import load_config
from distalex.errors import TrainingError, UserError
from distalex.machine.home import provide_home
from distalex.parallel.topology import Topology


def work(folder: Path) -> int:
    """Train as FOLDER/config.yaml says and leave the summary, or the error, in FOLDER/outcome-RANK. Returns the exit status."""
    outcome: object
    order = 0
    try:
        provide_home()
        from distalex.train.loop import train

        outcome = train(load_config(str(folder / "config.yaml")))
    except KeyboardInterrupt:
        return 130
    except (UserError, TrainingError) as error:
        outcome = error
    except Exception as error:
        order = 2 if lost_a_peer(error) else 1  # then another process has the cause
        traceback.print_exc()
        outcome = TrainingError(f"a process of this job failed: {type(error).__name__}: {' '.join(str(error).split())[:400]}")
    (folder / f"outcome-{Topology.from_environment().rank}").write_bytes(pickle.dumps((order, outcome)))
    return int(isinstance(outcome, Exception))


leave(work(Path(sys.argv[1])))
