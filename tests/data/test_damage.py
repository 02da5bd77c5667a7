"""Damaged, foreign and half-written files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.data import QUIET, damage, opened, some_source
from support.runs import options, small

from distalex.config.data import DataConfig
from distalex.data.beton import sidecar as described
from distalex.data.beton.estimate import How
from distalex.data.beton.files import Encoding, write
from distalex.data.beton.sidecar import checksums, read_info, read_prepared, sidecar
from distalex.data.readers import FFCVReader
from distalex.data.splits import list_sources, open_sources
from distalex.errors import UserError


def test_a_whole_check_finds_what_the_quick_one_skips(photographs, tmp_path, monkeypatch):
    """Pieces of a file over the limit are checked at every start, all of it on demand."""
    monkeypatch.setattr(described, "CHECKED_WHOLE", 1000)
    monkeypatch.setattr(described, "PIECE", 64)
    path = tmp_path / "x.beton"
    write(some_source(photographs), path, QUIET)
    size = path.stat().st_size
    starts = np.linspace(0, size - 64, 1024, dtype=np.int64)
    content = bytearray(path.read_bytes())
    content[int(starts[500]) + 100] ^= 1
    path.write_bytes(content)
    read_info(path)
    with pytest.raises(UserError, match="damaged"):
        read_prepared(path, whole=True)


@pytest.mark.slow(8)
def test_a_killed_preparing_leaves_no_file_and_the_next_one_does_it(tmp_path):
    out = tmp_path / "out" / "x.beton"
    command = [sys.executable, "-m", "distalex.prepare", "synthetic", f"--out={out}", "--size=96", "--workers=2"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while not list(out.parent.glob(".x.beton.*.partial")):
        assert first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert not out.exists()
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    written = [f"{file}{beside}" for file in ("x.beton", "x.test.beton") for beside in ("", ".json", ".names.gz")]
    assert sorted(path.name for path in out.parent.iterdir()) == written
    assert len(read_info(out)) == 2048


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "truncated or changed"),
        ("flipped", "damaged"),
        ("foreign", "truncated or changed"),
        ("alone", "description .* is missing"),
        ("nonsense", "not a description"),
        ("newer", "format 99"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(photographs, tmp_path, kind, message):
    path = tmp_path / "images.beton"
    write(open_sources(DataConfig(name="folder", root=str(photographs), stored_size=16))[0], path, QUIET)
    damage(path, kind)
    with pytest.raises(UserError, match=message) as caught:
        read_info(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_prepared_file_is_prepared_again(alone):
    said: list[str] = []
    settings = small(data__synthetic_images="24")
    opened(settings, alone, said.append)
    path = max(Path(os.environ["DISTALEX_DATA"]).glob("prepared/synthetic-train-*.beton"), key=lambda path: path.stat().st_mtime)
    damage(path, "flipped")
    data = opened(settings, alone, said.append)
    assert len(list(data.train.train(0))) == 2
    assert any("damaged" in line for line in said)


def test_an_unreadable_image_is_named_and_leaves_nothing(photographs, tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / "in" / name).mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "in" / name / "good.png")
    (tmp_path / "in" / "bee" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no image")
    (source,) = list_sources(DataConfig(name="folder", root=str(tmp_path / "in"), stored_size=16))
    with pytest.raises(UserError, match=r"bee/bad\.jpg: not a readable image"):
        write(source, tmp_path / "out" / "x.beton", QUIET)
    assert not list((tmp_path / "out").iterdir())


def test_a_killed_writer_is_noticed(photographs, tmp_path):
    (source,) = list_sources(DataConfig(name="folder", root=str(photographs / "train"), stored_size=16))

    original, parent = source.open, os.getpid()

    def killed(sample):
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(sample)

    object.__setattr__(source, "open", killed)
    with pytest.raises(UserError, match=r"killed \(exit status -9"):
        write(source, tmp_path / "x.beton", QUIET, How(workers=1))
    assert not list(tmp_path.iterdir())


def test_a_second_process_waits_for_the_one_that_prepares(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from distalex import files\n"
        "with files.locked(Path(sys.argv[1]), lambda: print('waits')): print('has it', flush=True); time.sleep(float(sys.argv[2]))"
    )
    first = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "x.lock"), "60"], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "has it\n"
    second = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "x.lock"), "0"], stdout=subprocess.PIPE, text=True)
    assert second.stdout is not None
    time.sleep(4)
    assert second.poll() is None
    first.kill()  # kill -9 frees the lock
    assert "has it" in second.communicate(timeout=30)[0]
    first.wait()


def break_a_jpeg(path: Path, sample: int) -> None:
    """Damage an image inside a prepared file and make the checksums fit: what a disk or memory does after the check."""
    stored = FFCVReader([path], 1, 1).loader.stored
    start = int(stored.addresses[sample]) - stored.files[0].ctypes.data
    content = bytearray(path.read_bytes())
    content[start : start + 8] = bytes(8)
    path.write_bytes(content)
    values = json.loads(sidecar(path).read_text())
    quick, whole = checksums(path)
    sidecar(path).write_text(json.dumps({**values, "checksum": quick, "whole_checksum": whole}))


@pytest.mark.slow
def test_an_image_that_breaks_later_ends_all_ranks_with_a_sentence(photographs, tmp_path, launch):
    for split in range(2):
        source = open_sources(DataConfig(name="folder", root=str(photographs), stored_size=72))[split]
        write(source, tmp_path / f"{split}.beton", QUIET, How(Encoding("jpg")))
    break_a_jpeg(tmp_path / "0.beton", 20)
    files = [f"--data.train={tmp_path}/0.beton", f"--data.test={tmp_path}/1.beton"]
    done = launch("train", *options(data__name="beton", train__epochs="5"), *files, "--parallel=data", processes=2, timeout=120)
    assert done.returncode != 0
    assert "0.beton: FFCV cannot read it (1 damaged image(s) among samples" in done.stderr
    assert "Traceback" not in done.stderr.split("torch/distributed")[0]
