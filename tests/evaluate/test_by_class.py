"""Precision, recall and F1 by class, against scikit-learn's."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, precision_recall_fscore_support
from support.runs import options

from distalex.cli.main import main
from distalex.evaluate.by_class import score_classes


def counted(actual, predicted, classes):
    return torch.bincount(torch.from_numpy(actual * classes + predicted), minlength=classes**2).view(classes, classes)


def test_scores_of_classes_are_those_of_scikit_learn():
    noise = np.random.default_rng(0)
    actual, predicted = noise.integers(0, 7, 500), noise.integers(0, 6, 500)  # class 6 is never predicted
    scores = score_classes(counted(actual, predicted, 7), "abcdefg")
    expected = precision_recall_fscore_support(actual, predicted, zero_division=0)
    found = [(one.precision, one.recall, one.f1, one.images) for one in scores.classes]
    assert pytest.approx(np.array([*(100 * part for part in expected[:3]), expected[3]])) == np.array(found).T
    means = precision_recall_fscore_support(actual, predicted, average="macro", zero_division=0)[:3]
    assert (scores.precision, scores.balanced_accuracy, scores.f1) == pytest.approx([100 * mean for mean in means])


def test_a_class_without_test_images_has_no_scores_and_no_share_in_the_means():
    actual, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 2, 1, 1, 0])
    scores = score_classes(counted(actual, predicted, 3), ("ant", "bee", "cat"))
    cat = scores.classes[2]
    assert (cat.precision, cat.recall, cat.f1, cat.images, cat.predicted) == (None, None, None, 0, 1)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert scores.balanced_accuracy == pytest.approx(100 * balanced_accuracy_score(actual, predicted))
    assert scores.table().splitlines()[-1].split() == ["cat", "-", "-", "-", "0", "1"]


def test_evaluate_prints_classes_where_asked_and_writes_them_always(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *options(name="it", parallel="none", train__max_steps="1")]) == 0
    for typed, listed in (([], False), (["--by_class"], True)):
        capsys.readouterr()
        assert main(["evaluate", "it", *typed]) == 0
        printed = capsys.readouterr().out
        assert "balanced accuracy" in printed
        assert ("recall %" in printed) is listed
        found = json.loads((tmp_path / "runs" / "it" / "evaluation.json").read_text())
        assert [one["name"] for one in found["by_class"]] == found["classes"]
        assert found["balanced_accuracy"] == pytest.approx(np.mean([one["recall"] for one in found["by_class"]]))
