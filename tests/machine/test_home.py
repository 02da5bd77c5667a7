"""Users whom the system does not know, with no home: caches have a place all the same."""

import os
import pwd
import tempfile

import pytest

from distalex.machine import home
from distalex.machine.home import provide_home
from distalex.machine.resources import cores, cores_of_each


@pytest.fixture(autouse=True)
def own_environment(tmp_path, monkeypatch):
    """Variables as a container has them, restored after the test, and a temporary folder of this test."""
    for name in ("HOME", "LOGNAME", *home.CACHES):
        monkeypatch.setenv(name, "restored at the end")
        del os.environ[name]
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


def test_a_home_that_is_not_there_is_replaced_in_the_temporary_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    provide_home()
    own = tmp_path / "tmp" / f"distalex-{os.getuid()}"
    assert (os.environ["HOME"], os.environ["XDG_CACHE_HOME"]) == (str(own), str(own))
    assert own.stat().st_mode & 0o777 == 0o700
    assert f"{tmp_path / 'none' / '.cache'} cannot be written, so caches are kept in {own}" in capsys.readouterr().err


def test_a_home_that_cannot_be_written_stays_and_caches_move(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    provide_home()
    assert os.environ["HOME"] == str(tmp_path)
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / "tmp" / f"distalex-{os.getuid()}")


def test_a_home_that_can_be_written_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    provide_home()
    assert "XDG_CACHE_HOME" not in os.environ
    assert capsys.readouterr().err == ""


def test_a_user_without_a_name_gets_one(tmp_path, monkeypatch):
    def unknown(number):
        raise KeyError(number)

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    provide_home()
    assert os.environ["LOGNAME"] == f"uid{os.getuid()}"


def test_a_task_of_srun_has_the_cores_that_it_was_given(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert cores_of_each(1) == cores()
    assert cores_of_each(2) == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1000")
    assert cores_of_each(2) == cores()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert cores_of_each(2) == max(1, cores() // 2)
