"""Training computes what the golden curves say."""

import json
from pathlib import Path

import pytest
from golden import renew

from distalex.compare.differences import MEASURES, compare_curves

# Kernels for AVX-512, AVX2 and SSE4.1 (ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY choose them), and pixels off by up to 1e-6 of
# themselves, move a loss by at most 4e-6 and a mean or spread of weights by 1.1e-6. Dropout of 0.49 for 0.5 moves a loss by 0.2,
# momentum of 0.89 for 0.9 by 4e-3, an LRN alpha of 2e-4 for 1e-4 by 1e-4. Adam's eps is 1e-4: with 1e-8 it takes a gradient that
# is nothing but rounding for a step of full length, and pixels off by 1e-7 moved a loss by 1.6e-3.
LOSS_TOLERANCE = 2e-5
SPREAD_TOLERANCE = 5e-6


def differences(golden, now):
    """What differs from a golden file, in words."""
    found = []
    for kind in MEASURES:
        before, after = ({row["step"]: row for row in part[kind]} for part in (golden, now))
        if before.keys() != after.keys():
            found.append(f"{kind}: steps {list(before)} / {list(after)}")
        for point in compare_curves(kind, before, after):
            measure = point.differs(LOSS_TOLERANCE)
            if measure:
                found.append(f"{kind} step {point.step}: {measure} {point.values[measure]}")
    if golden["weights"].keys() != now["weights"].keys():
        return [*found, f"weights: {list(golden['weights'])} / {list(now['weights'])}"]
    for name, spread in golden["weights"].items():
        for key, value in spread.items():
            if not abs(value - now["weights"][name][key]) <= SPREAD_TOLERANCE:
                found.append(f"{name}: {key} {value} / {now['weights'][name][key]}")
    return found


@pytest.mark.parametrize("path", renew.FILES, ids=lambda path: path.stem)
def test_training_computes_what_the_golden_curves_say(path, tmp_path):
    """Where a change is meant, `python tests/golden/renew.py` renews them."""
    golden = json.loads(path.read_text())
    assert len(golden["train"]) >= 8
    assert not differences(golden, renew.measure(golden["options"], tmp_path, path.stem))


@pytest.mark.parametrize("change", [{"model.init": "torch"}, {"optim.momentum": "0.89"}, {"model.lrn_alpha": "2e-4"}])
def test_a_small_change_shows_in_a_golden_curve(change, tmp_path):
    golden = json.loads((Path(renew.__file__).parent / "paper_sgd.json").read_text())
    now = renew.measure({**golden["options"], **change}, tmp_path, "changed")
    assert any(line.startswith("train step") for line in differences(golden, now))


def test_a_golden_file_is_written_as_it_is_read(tmp_path):
    for path in renew.FILES:
        renew.write(tmp_path / path.name, json.loads(path.read_text()))
        assert (tmp_path / path.name).read_text() == path.read_text()
