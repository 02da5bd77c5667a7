"""Config files: values, mistakes with their lines, `like`."""

import pytest

from distalex.config.config import Config
from distalex.config.loading import load_config
from distalex.config.schema import validate
from distalex.errors import UserError


def test_a_dumped_configuration_loads_to_the_same(tmp_path):
    values = load_config("alexnet_paper", {"optim.layer_lr": "fc8:10", "train.ema": "0.99", "model.freeze": "conv1"})
    (tmp_path / "config.yaml").write_text(values.dump())
    assert load_config(str(tmp_path / "config.yaml")) == values


YAML_MISTAKES = {
    "unknown: 1": ["unknown", "line 1", "no such option"],
    "train:\n  epoch: 1": ["train.epoch", "line 2", "did you mean train.epochs"],
    "train: 3": ["train", "line 1", "section"],
    "- a\n- b": ["mapping"],
    "train:\n  epochs: 1\n  epochs: 2": ["train.epochs", "line 3", "twice"],
    "train:\n\tepochs: 1": ["not valid YAML"],
    "a: &x 1\nb: *x": ["aliases"],
    "train:\n  epochs: true": ["train.epochs", "line 2", "number"],
    "optim:\n  lr: fast": ["optim.lr=fast", "line 2", "number"],
    "train: {epochs: [1]}": ["train.epochs", "integer"],
    "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]": ["aliases"],
    "seed: !!python/object/apply:os.system [ls]": ["line 1"],
    "seed: " + "[" * 5000 + "]" * 5000: ["nested"],
    "seed: " + "9" * 5000: ["cannot be read", "digits"],
    "seed: 1\n---\nseed: 2": ["single document"],
    "1: 2": ["1", "line 1", "no such option"],
    "train: {? [a] : 1}": ["train"],
    "seed: 2001-01-01": ["seed=2001-01-01", "integer"],
    'name: "a\\0b"': ["name=", "no folder"],
}


@pytest.mark.parametrize("text", YAML_MISTAKES)
def test_a_mistake_in_a_file_names_its_line(text, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_config(str(path))
    assert "\n" not in str(caught.value)
    for word in ["mine.yaml", *YAML_MISTAKES[text]]:
        assert word in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_in_another_encoding_is_refused(encoding, tmp_path):
    (tmp_path / "mine.yaml").write_bytes("name: café".encode(encoding))
    with pytest.raises(UserError, match=r"mine\.yaml.*(UTF-8|utf-8)"):
        load_config(str(tmp_path / "mine.yaml"))


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_config(str(tmp_path))


def test_yaml_numbers_are_what_they_look_like(tmp_path):
    (tmp_path / "x.yaml").write_text("log: {project: 1:30}\noptim: {lr: 1e-2}\ntrain: {epochs: 010}\n")
    values = load_config(str(tmp_path / "x.yaml"))
    assert (values.log.project, values.optim.lr, values.train.epochs) == ("1:30", 0.01, 10)


def test_a_configuration_is_laid_over_the_one_it_is_like(tmp_path):
    (tmp_path / "base.yaml").write_text("optim: {lr: 0.5, momentum: 0.8}\ntrain: {epochs: 3}\n")
    (tmp_path / "mine.yaml").write_text("like: base.yaml\noptim: {lr: 0.25}\n")
    found = load_config(str(tmp_path / "mine.yaml"), {"train.epochs": "7"})
    assert (found.optim.lr, found.optim.momentum, found.train.epochs) == (0.25, 0.8, 7)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("like: [a, b]", "like=['a', 'b']"),
        ("like: alexnet_papr", "did you mean alexnet_paper?"),
        ("like: mine.yaml", "leads back to"),
        ("like: other.yaml", "leads back to"),
    ],
)
def test_a_configuration_that_is_like_none_is_refused_with_its_place(tmp_path, text, says):
    (tmp_path / "other.yaml").write_text("like: mine.yaml\n")
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_config(str(tmp_path / "mine.yaml"), {})
    assert says in str(caught.value)
    assert "yaml, line 1: " in str(caught.value)


def test_an_empty_section_is_as_if_it_were_not_there(tmp_path):
    (tmp_path / "base.yaml").write_text("optim: {lr: 0.5}\n")
    (tmp_path / "mine.yaml").write_text("like: base.yaml\noptim:\n  # lr: 1\ntrain:\n")
    assert load_config(str(tmp_path / "mine.yaml"), {"train.epochs": "2"}).optim.lr == 0.5


def test_an_option_of_an_earlier_version_is_read_under_its_new_name(tmp_path):
    (tmp_path / "old.yaml").write_text("log: {pictures: 5, every: 2}\n")
    assert load_config(str(tmp_path / "old.yaml")).log.images == 5
    assert load_config(str(tmp_path / "old.yaml"), {"log.images": "7"}).log.images == 7
    assert validate(Config, {"log": {"pictures": 6}}, {}).log.images == 6, "of a checkpoint"
    with pytest.raises(UserError, match=r"log\.pictures \(command line\): no such option, did you mean log\.images"):
        load_config(None, {"log.pictures": "1"})
