"""Files replaced all at once, locks, and places that cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distalex.errors import UserError
from distalex.files import Lock, link_atomically, locked, refuse_unwritable, replaced_atomically, write_atomically


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(RuntimeError), replaced_atomically(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    with replaced_atomically(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    link_atomically(path, tmp_path / "other")
    assert (tmp_path / "other").samefile(path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "other"]


def test_what_cannot_be_written_names_the_option_the_place_and_the_reason(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "below"
    with (
        pytest.raises(UserError, match=rf"^out={path}: cannot be written \(Not a directory\); give another place$"),
        refuse_unwritable(path, "out"),
    ):
        write_atomically(path, b"")


def holding(path: Path, removed: bool) -> subprocess.Popen:
    """A process that has taken the lock on `path` and says who it is, until it is killed."""
    program = (
        "import sys, time; from pathlib import Path; from distalex.files import Lock\n"
        f"lock = Lock(Path(sys.argv[1]), removed={removed}); assert lock.acquire()\n"
        "if not lock.path.is_dir(): lock.describe_holder('somebody')\n"
        "print('has it', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    return process


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_lock_holds_out_others_until_its_process_ends(tmp_path, kind):
    path = tmp_path if kind == "folder" else tmp_path / "x.lock"
    process = holding(path, removed=kind == "file")
    lock = Lock(path, removed=kind == "file")
    assert not lock.acquire()
    assert lock.holder() == ("somebody" if kind == "file" else "")
    process.kill()
    process.wait()
    assert lock.acquire()
    lock.release()
    assert not list(tmp_path.iterdir())


def test_a_lock_on_a_file_that_its_holder_removes_meanwhile_is_taken_on_a_new_one(tmp_path, monkeypatch):
    path = tmp_path / "x.lock"
    opened = os.open

    def removed_after_opening(*arguments):
        descriptor = opened(*arguments)
        monkeypatch.undo()
        path.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", removed_after_opening)
    lock = Lock(path, removed=True)
    assert lock.acquire()
    assert path.exists()
    lock.release()


def test_waiting_is_announced_once(tmp_path):
    path, said = tmp_path / "x.lock", []
    with locked(path, lambda: said.append("waits")):
        assert not said
    process = holding(path, removed=False)

    def announced():
        said.append("waits")
        process.kill()

    with locked(path, announced):
        assert said == ["waits"]
    process.wait()
