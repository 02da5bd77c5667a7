"""Whatever a file or an option holds, the answer is a configuration, a state, or one line that says what is wrong."""

import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.runs import small

from distalex.config.config import Config
from distalex.config.loading import load_config
from distalex.config.schema import options_of, validate
from distalex.errors import UserError
from distalex.model.initial_weights import build_model
from distalex.optim.optimizer import build_optimizer
from distalex.optim.schedule import Schedule
from distalex.parallel.shards import Shards
from distalex.runs import checkpoint
from distalex.train.state import TrainState

KEYS = [key for key, _ in options_of(Config)]
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["1e5", "nan", "[", "{}", "~", "0x1f", "1:30", "yes"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=5
)


def answered(load):
    """A UserError of one line, or nothing, if `load` gave a configuration that stays the same when it is written and read."""
    try:
        values = load()
    except UserError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 2000
        return
    assert validate(Config, values.model_dump(mode="json"), {}) == values


@FUZZ
@given(st.dictionaries(st.sampled_from(KEYS), SCALARS.map(str), max_size=4))
def test_any_value_of_any_option(overrides):
    answered(lambda: load_config(None, overrides))


@FUZZ
@given(st.dictionaries(st.sampled_from([*KEYS, "model", "data", "train", "x", ""]), VALUES, max_size=4))
def test_any_structure_in_a_file(tmp_path, values):
    import yaml

    nested: dict[str, object] = {}
    for key, value in values.items():
        section, _, leaf = key.rpartition(".")
        target = nested.setdefault(section, {}) if section else nested
        if isinstance(target, dict):
            target[leaf] = value
    path = tmp_path / "any.yaml"
    path.write_text(yaml.safe_dump(nested, allow_unicode=True), encoding="utf-8")
    answered(lambda: load_config(str(path)))


@FUZZ
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_any_bytes_in_a_file(tmp_path, content):
    path = tmp_path / "any.yaml"
    path.write_bytes(content)
    answered(lambda: load_config(str(path)))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint, its bytes and what they hold."""
    from distalex.parallel.mesh import Mesh
    from distalex.parallel.topology import Topology

    options = small(model__name="cifar", model__channels="4,4", model__kernels="3,3", model__pooled="conv1", model__fc6="0", model__fc7="0")
    net = build_model(options.model, 4, 64, seed=0)
    shards = Shards(Mesh(Topology(), torch.device("cpu")))
    described = {"config": options.model_dump(mode="json"), "classes": list("abcd"), "mean": [0.0], "covariance": [[1.0]], "side": 64}
    state = TrainState(net, build_optimizer(net, options.optim, shards), Schedule(options.optim, 4, 2), shards, metadata=described)
    path = tmp_path_factory.mktemp("checkpoint") / "step-00000001.pt"
    checkpoint.save(state.state_dict(), path)
    return path.read_bytes(), checkpoint.load(path)


@FUZZ
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["flip", "cut", "join", "swap", "noise"]))
def test_a_damaged_checkpoint_is_refused_or_holds_what_was_saved(tmp_path, written, seed, kind):
    """Bits flipped, cut short, two joined, halves swapped, a stretch of noise; padding between records may change unseen."""
    content, saved = bytearray(written[0]), written[1]
    draw = random.Random(seed)
    at = draw.randrange(len(content))
    match kind:
        case "flip":
            content[at] ^= 1 << draw.randrange(8)
        case "cut":
            content = content[:at]
        case "join":
            content += content[:at]
        case "swap":
            content = content[at:] + content[:at]
        case "noise":
            content[at : at + 64] = draw.randbytes(64)
    path = tmp_path / "step-00000001.pt"
    path.write_bytes(content)
    try:
        found = checkpoint.load(path)
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert found["config"] == saved["config"]
    assert all(torch.equal(value, found["model"][name]) for name, value in saved["model"].items())
