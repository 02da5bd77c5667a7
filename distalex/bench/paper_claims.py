"""The paper's claims that `bench paper` tests: each a config in configs/paper that changes one thing of its baseline."""

from __future__ import annotations

from typing import Any, NamedTuple


class Claim(NamedTuple):
    """What the paper says of one change to its network or its training."""

    section: str
    change: str
    """What is changed."""
    paper: str
    """The change of top-1 accuracy in points, or the paper's words."""
    sign: int
    """-1 where the paper's top-1 falls, 1 where it rises."""


CLAIMS = {
    "half_width": Claim("3.2", "one column of half the kernels", "−1.7", -1),
    "no_exchange": Claim("3.2", "columns meet at fc6 only", '"a problem for cross-validation"', -1),
    "no_lrn": Claim("3.3", "no local response normalisation", "−1.4; on CIFAR-10 −2", -1),
    "plain_pooling": Claim("3.4", "pooling without overlap", "−0.4", -1),
    "no_augmentation": Claim("4.1", "no crops and flips", '"substantial overfitting"', -1),
    "colour_noise": Claim("4.1", "colour noise along principal components", "over +1", 1),
    "no_dropout": Claim("4.2", "no dropout", '"substantial overfitting"', -1),
    "no_conv3": Claim("7", "no conv3", "about −2", -1),
    "no_conv4": Claim("7", "no conv4", "about −2", -1),
}
"""By the name of the config."""
BASELINE = "baseline"
FIGURE1 = {"relu": "figure1_relu", "tanh": "figure1_tanh"}
"""Configs of Figure 1, by the activation function."""
MARKS = (50, 60, 75)
"""Training top-1 in percent whose first epoch is noted; the last is Figure 1's 25 % error."""


def direction(found: dict[str, Any], sign: int) -> str:
    """`the paper's` or `the other`, where the mean is two standard errors from nothing or more, else `undecided`."""
    mean, error = found["mean"], found["error"]
    if error is None or not mean or abs(mean) < 2 * error:
        return "undecided"
    return "the paper's" if mean * sign > 0 else "the other"
