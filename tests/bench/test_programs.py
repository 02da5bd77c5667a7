"""Programs that benchmarks run: read, and ended with the benchmark, with all that they have started."""

import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from distalex.bench import programs
from distalex.bench.plain import measure_plain
from distalex.errors import UserError

SLEEP = "import time; time.sleep(600)"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True).wait()"  # as torchrun
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); {SLEEP}"


def run_of_two(wait=10.0):
    """The mark of a program that has started another one in a session of its own."""
    mark, _ = programs.start(["-c", PARENT], os.environ)
    until = time.monotonic() + wait
    while len(list(programs.marked(mark))) < 2:
        assert time.monotonic() < until
        time.sleep(0.02)
    return mark


def test_what_a_program_started_ends_with_it():
    mark = run_of_two()
    programs.end(mark)
    assert list(programs.marked(mark)) == []
    programs.end(mark)  # again, which does nothing


def test_a_program_that_ignores_sigterm_is_killed(monkeypatch):
    monkeypatch.setattr(programs, "GRACE", 0.1)
    with programs.started(["-c", DEAF], os.environ, stdout=-1, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        programs.end(next(iter(programs._running)), grace=0.1)
        assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, SystemExit), (signal.SIGHUP, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_ends_the_programs_and_then_the_benchmark(number, raised):
    before = signal.getsignal(number)
    with pytest.raises(raised) as leaving, programs.ended_together():
        mark = run_of_two()
        os.kill(os.getpid(), number)
        time.sleep(5)
    if raised is SystemExit:
        assert leaving.value.code == 128 + number
    assert list(programs.marked(mark)) == []
    assert signal.getsignal(number) == before


def test_a_signal_ends_programs_that_threads_wait_for_and_none_follows():
    """As `bench paper`, which trains several runs side by side."""
    started = time.monotonic()
    threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt), programs.ended_together(), ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: programs.run_to_end(["-c", SLEEP], os.environ), range(6)))
    assert time.monotonic() - started < 60
    assert not programs._running


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("print('hello')", "its last line must be JSON, and it printed hello"),
        ("", "its last line must be JSON, and it printed nothing"),
        ("print('{}')", "positive images_per_second, and it printed {}"),
        ("print('12')", "positive images_per_second, and it printed 12"),
        ("print('{\"images_per_second\": 0}')", "positive images_per_second"),
        ('print(\'{"images_per_second": "12"}\')', "positive images_per_second"),
        ("raise LookupError('no such thing')", "failed with status 1: LookupError: no such thing"),
        ("import sys; sys.stderr.write('ValueError: outer\\nOSError: the cause\\n======\\n'); sys.exit(3)", "status 3: OSError: the cause"),
    ],
)
def test_a_peer_that_prints_no_rate_is_refused_in_a_line(tmp_path, script, says):
    (tmp_path / "peer.py").write_text(script)
    with pytest.raises(UserError) as refused:
        measure_plain("root", 1, str(tmp_path / "peer.py"))
    assert says in str(refused.value)


def test_a_peer_has_a_thread_for_each_core_whatever_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("distalex.bench.plain.cores", lambda: 7)
    (tmp_path / "peer.py").write_text('import os; print("{\\"images_per_second\\": " + os.environ["OMP_NUM_THREADS"] + "}")')
    assert measure_plain("root", 1, str(tmp_path / "peer.py")) == 7


def test_the_start_of_several_processes_leaves_no_logs_behind(tmp_path):
    assert programs.torchrun(1, tmp_path) == []
    words = programs.torchrun(2, tmp_path)
    assert "--nproc_per_node=2" in words and f"--log_dir={tmp_path}" in words
    (tmp_path / "rank.py").write_text("import json, os; print(json.dumps(os.environ['RANK']))")
    assert sys.executable and json.loads(programs.run_python([*words, str(tmp_path / "rank.py")]).splitlines()[0]) in ("0", "1")
