"""The types of options, their validation, and the message for a value that is refused."""

from __future__ import annotations

import difflib
import hashlib
import math
import os
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from distalex.config.choices import OneOf
from distalex.errors import UserError


def _reject_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, got {str(value).lower()}")
    return value


def split_list(value: Any) -> Any:
    """Split the text `a,b` or `[a, b]` of a command line into a list; other values are returned as they are."""
    return [item for item in (part.strip() for part in value.strip("[]").split(",")) if item] if isinstance(value, str) else value


def expand_home(value: Any) -> Any:
    """Replace `~` at the beginning of a text, or of those of a tuple, by the home folder, which a shell does not do in `--option=~/DIR`."""
    if isinstance(value, tuple):
        return tuple(map(expand_home, value))
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~") else value


def _split_pairs(value: Any) -> Any:
    """Split the text `fc8:10,fc7:5` of a command line into a mapping; other values are returned as they are."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition(":" if ":" in part else "=") for part in value.strip("{}").split(",") if part.strip()]
    return {key.strip(): number.strip() for key, _, number in pairs}


# Numbers refuse true and false; lists and mappings may be typed as `a,b` and `fc8:10,fc7:5`.
Int = Annotated[int, BeforeValidator(_reject_bool)]
Float = Annotated[float, BeforeValidator(_reject_bool)]
Names = Annotated[tuple[str, ...], BeforeValidator(split_list)]
Floats = Annotated[tuple[Float, ...], BeforeValidator(split_list)]
Counts = Annotated[tuple[Annotated[Int, Field(ge=1)], ...], BeforeValidator(split_list)]
Rates = Annotated[dict[str, Float], BeforeValidator(_split_pairs)]
Pairs = Annotated[dict[str, str], BeforeValidator(_split_pairs)]
WeightsByName = Annotated[dict[str, Float], BeforeValidator(_split_pairs)]
Device = Annotated[Literal["auto", "cpu", "cuda"], Field(description="`auto` uses a GPU if there is one.")]


NONE = (None, "none", "null", "None")
"""How no value is written."""


class Section(BaseModel):
    """A frozen group of options; an unknown key is refused. The docstring below a field is its help text."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        coerce_numbers_to_str=True,
        protected_namespaces=(),
    )
    none_is_nothing: ClassVar[bool] = True
    """Whether the text `none` means no value; a command's words may be files of that name."""
    earlier: ClassVar[Mapping[str, str]] = {}
    """Options that an earlier version named otherwise, by that name; config files and checkpoints that have it still load."""

    @model_validator(mode="before")
    @classmethod
    def _read_earlier_names(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not cls.earlier.keys() & values.keys():
            return values
        renamed = {cls.earlier[key]: value for key, value in values.items() if key in cls.earlier}
        return {**renamed, **{key: value for key, value in values.items() if key not in cls.earlier}}

    @model_validator(mode="before")
    @classmethod
    def _read_none(cls, values: Any) -> Any:
        """Read `none` and `null` as no value: None, or nothing of a list or mapping. Where they are a choice, they stay."""
        if not isinstance(values, dict) or not cls.none_is_nothing:
            return values
        empty = {key: _nothing(cls.model_fields[key]) for key, value in values.items() if value in NONE and key in cls.model_fields}
        return {**values, **{key: value[0] for key, value in empty.items() if value}}

    @model_validator(mode="before")
    @classmethod
    def _expand_home(cls, values: Any) -> Any:
        return {key: expand_home(value) for key, value in values.items()} if isinstance(values, dict) else values


def _nothing(field: FieldInfo) -> tuple[Any, ...]:
    """Return what stands for no value of an option, in a tuple; an empty tuple where it needs a value or `none` is a choice."""
    if "none" in choices_of(field):
        return ()
    kinds = (field.annotation, *typing.get_args(field.annotation))
    if type(None) in kinds:
        return (None,)
    origins = set(map(typing.get_origin, kinds))
    return ((),) if tuple in origins else ({},) if dict in origins else ()


def flatten(values: dict[str, Any], prefix: str = "", separator: str = ".") -> dict[str, Any]:
    """Flatten nested dicts into one, keyed by dotted name. The text of a network's file (`code`) is replaced by its digest."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key == "code" and isinstance(value, str):
            found[f"{prefix}{key}"] = digest_of_text(value)
        elif isinstance(value, dict) and key not in ("layer_lr", "columns", "class_weights"):
            found |= flatten(value, f"{prefix}{key}{separator}", separator)
        else:
            found[f"{prefix}{key}"] = value
    return found


def digest_of_text(text: str) -> str:
    """Return 12 hexadecimal digits that differ where texts differ."""
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return options given from Python as the types of options take them: paths as text, numbers of NumPy and PyTorch as Python's."""
    plain = {}
    for key, value in values.items():
        is_number = getattr(value, "shape", None) == () and hasattr(value, "item")
        plain[key] = os.fspath(value) if isinstance(value, os.PathLike) else value.item() if is_number else value
    return plain


SectionType = typing.TypeVar("SectionType", bound=Section)


def validate(kind: type[SectionType], values: Mapping[str, Any], places: Mapping[str, str]) -> SectionType:
    """Build `kind` from `values`; `places` holds where each dotted option was given. Raises UserError for the first mistake."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UserError(_one_line(error, kind, places)) from None


def options_of(kind: type[Section], prefix: str = "") -> Iterator[tuple[str, typing.Any]]:
    """Yield every option of a section, by dotted name, with its pydantic field."""
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from options_of(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def check_key(key: str, place: str, *kinds: type[Section], also: tuple[str, ...] = ()) -> None:
    """Raise UserError, with the nearest option, unless `key` is a dotted option of one of `kinds` or stands in `also`."""
    known = [*(name for kind in kinds for name, _ in options_of(kind)), *also]
    if key not in known:
        from_python = place.startswith("distalex.")
        typed, listed = (key, "python -m distalex.train --help") if from_python else (f"--{key}", "--help")
        raise UserError(f"{typed} ({place}): no such option{nearest(key, known)}; {listed} lists all")


OTHER_NAMES = {
    other: ours
    for ours, others in {
        "data.root": "data dir data_dir data_path datadir dataroot folder input path images_dir",
        "data.name": "dataset dataset_name",
        "data.image_size": "img_size imgsz im_size input_size resolution crop_size",
        "data.workers": "num_workers n_workers j",
        "data.normalize": "mean std norm",
        "data.test": "val valid val_data test_data",
        "model.name": "model arch net network backbone architecture",
        "model.weights": "pretrained finetune init_from load checkpoint_path weights_path",
        "optim.name": "optim optimizer opt",
        "optim.lr": "learning_rate base_lr rate",
        "optim.weight_decay": "wd decay l2",
        "optim.schedule": "scheduler lr_scheduler sched",
        "optim.warmup_epochs": "warmup warm_up",
        "train.batch_size": "batch bs batchsize b",
        "train.max_steps": "steps iterations iters max_iters num_steps",
        "train.epochs": "num_epochs max_epochs n_epochs",
        "train.precision": "amp fp16 half bf16 mixed_precision dtype",
        "train.accumulate": "accum grad_accum accum_steps gradient_accumulation_steps accumulate_grad_batches",
        "train.clip_norm": "clip grad_clip clip_grad max_grad_norm gradient_clip_val",
        "checkpoint.resume": "checkpoint ckpt ckpt_path restart load_from",
        "checkpoint.every_steps": "save_every save_freq save_interval",
        "train.class_weights": "class_weight weight cls_weights",
        "data.order": "sampler shuffle weighted_sampler",
        "data.trivial_augment": "trivialaugment trivialaugmentwide ta_wide",
        "data.randaugment": "rand_augment randaug aa auto_augment",
        "data.jitter": "color_jitter colour_jitter colorjitter",
        "data.vertical_flip": "vflip flipud",
        "data.erase": "random_erasing reprob erasing random_erase",
        "log.every": "log print_freq log_interval log_freq log_every",
        "log.images": "pictures",
        "parallel": "distributed strategy ddp dp mode",
        "device": "gpus gpu cuda cpu accelerator",
        "seed": "random_seed manual_seed",
        "name": "exp_name experiment run_name exp run_id",
        "runs_dir": "output_dir out output save_dir log_dir out_dir logdir outdir",
    }.items()
    for other in others.split()
}
"""Options by the names that other programs and earlier versions use."""


def nearest(word: str, known: list[str]) -> str:
    """Format the known name most like `word` as `, did you mean NAME?`; empty if none is."""
    if OTHER_NAMES.get(word.rpartition(".")[2]) in known:
        return f", did you mean {OTHER_NAMES[word.rpartition('.')[2]]}?"
    by_leaf = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(word, known, 1, 0.6) or [
        by_leaf[leaf] for leaf in difflib.get_close_matches(word.rpartition(".")[2], by_leaf, 1, 0.7)
    ]
    return f", did you mean {near[0]}?" if near else ""


def _one_line(error: ValidationError, kind: type[Section], places: Mapping[str, str]) -> str:
    first = error.errors()[0]
    names = [str(part) for part in first["loc"]]
    fields = dict(options_of(kind))
    key = next((".".join(names[:end]) for end in range(len(names), 0, -1) if ".".join(names[:end]) in fields), ".".join(names))
    message = first["msg"].removeprefix("Value error, ")
    if key not in fields:
        return _with_place(message, places)  # a check of several fields, which names them itself
    place = f" ({places[key]})" if key in places else ""
    value = first["input"]
    field = fields[key]
    choices = choices_of(field)
    if choices and first["type"] != "value_error":  # a check of its own says more
        message = f"must be one of {', '.join(choices)}{nearest(str(value), choices)}"
    elif value in ("True", "") and first["type"].endswith("parsing"):
        message = "needs a value"
    default = default_text(field)
    example = f"; e.g. --{key}={default}" if default and not choices else ""
    return f"{key}={value}{place}: {message[:1].lower()}{message[1:]}{example}"


def _with_place(message: str, places: Mapping[str, str]) -> str:
    """Prefix a message that begins with `option=value` with the file and line where that was given."""
    option = re.match(r"[a-z_.0-9]+(?==)", message)
    place = places.get(option[0], "") if option else ""
    return message if place in ("", "command line") else f"{place}: {message}"


def default_text(field: FieldInfo) -> str:
    """Format an option's default as it is typed on the command line; empty where it has none."""
    default = field.get_default(call_default_factory=True)
    return "" if field.is_required() or default in (None, "", (), {}) else plain_text(default)


def choices_of(field: FieldInfo) -> list[str]:
    """Return the names that an option accepts; empty for an option of free values."""
    declared = meanings_of(field)
    return list(declared) if declared else _words_of(field.annotation)


def meanings_of(field: FieldInfo) -> dict[str, str]:
    """Return the meaning of each name that an option accepts, by name, where files declare them (`choices.OneOf`); else empty."""
    return next((part.meanings for part in field.metadata if isinstance(part, OneOf)), {})


def _words_of(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is Literal:
        return list(typing.get_args(annotation))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [choice for part in typing.get_args(annotation) for choice in _words_of(part)]
    return []


def shown_value(value: Any) -> str:
    """Format an option's value for people: as `plain_text`, and `–` where it is empty."""
    return "–" if value in (None, "", [], (), {}) else plain_text(value)


def plain_text(value: Any) -> str:
    """Format a value as it is typed on the command line, e.g. `true`, `1e-4`, `a,b` or `fc8:10`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return ",".join(plain_text(item) for item in value)
    if isinstance(value, dict):
        return ",".join(f"{key}:{plain_text(item)}" for key, item in value.items())
    if isinstance(value, float) and value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        mantissa, exponent = f"{value:e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)
