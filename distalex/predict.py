"""What a trained network sees in pictures: labels with probabilities, and a drawing of them."""

if __name__ == "__main__":  # before torch is imported, so that --help answers at once
    from distalex.cli import entry

    entry("predict")

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distalex import config, random
from distalex.augment import Statistics, Views
from distalex.console import Console
from distalex.data.files import read_file
from distalex.data.pictures import open_picture, square
from distalex.distributed import Mesh, start_processes
from distalex.errors import UserError
from distalex.evaluate import Trained, load_trained, logits_of, open_data_of
from distalex.precision import arithmetic

SHOWN = 5  # labels of a prediction


@dataclass(frozen=True)
class Prediction:
    """What a network takes one picture for."""

    name: str
    labels: tuple[str, ...]
    """Up to five, the likeliest first."""
    probabilities: tuple[float, ...]
    actual: str | None = None

    def line(self) -> str:
        """E.g. `cat.jpg: cat 93.1 %, dog 4.0 %, …`, with the actual label where it is known."""
        listed = ", ".join(f"{label} {100 * share:.1f} %" for label, share in zip(self.labels, self.probabilities, strict=True))
        if self.actual is None:
            return f"{self.name}: {listed}"
        verdict = "right" if self.actual == self.labels[0] else "wrong"
        return f"{self.name}: predicted {self.labels[0]} ({100 * self.probabilities[0]:.1f} %), actual {self.actual} - {verdict}"


def predict_run(options: config.PredictOptions) -> list[Prediction]:
    """`python -m distalex.predict RUN [IMAGE …]`. Raises UserError where a file is no picture."""
    if options.save and Path(options.save).suffix.lower() not in config.DRAWN_AS:
        raise UserError(f"save={options.save}: the name of a picture to draw is needed, ending in one of {', '.join(config.DRAWN_AS)}")
    console = Console()
    with start_processes(config.Config(parallel="none", device=options.device)) as mesh:
        trained = load_trained(options.run, options.runs_dir)
        trained.net.to(device=mesh.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if options.images:
            names, actual = list(options.images), None
            images = torch.from_numpy(
                np.stack([read_picture(name, trained.state["side"], trained.state.get("resize", "short_side")) for name in names])
            )
        else:
            images, names, actual = pick_test_pictures(trained, options, mesh, console)
        predictions = predict(trained, images, names, actual)
    for prediction in predictions:
        print(json.dumps(prediction.__dict__) if options.json_lines else prediction.line())
    if actual and not options.json_lines:
        right = sum(prediction.actual == prediction.labels[0] for prediction in predictions)
        print(f"{right} of {len(predictions)} right")
    if options.save:
        draw(predictions, images, Path(options.save))
        console.say(f"drawn: {options.save}")
    return predictions


def read_picture(name: str, side: int, resize: str) -> np.ndarray:
    """A picture file as stored pictures are: (side, side, 3) uint8. Raises UserError."""
    try:
        return square(open_picture(read_file(Path(name))), side, resize)
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except OSError as error:
        raise UserError(f"{name}: not a readable picture ({error.strerror or error})") from None


def pick_test_pictures(
    trained: Trained, options: config.PredictOptions, mesh: Mesh, console: Console
) -> tuple[Tensor, list[str], list[str]]:
    """Some of the run's test set, chosen by its seed: pictures, names and actual labels."""
    pictures = open_data_of(trained, options.data_root, options.count, mesh, console)
    stream = random.key(trained.config.seed, "shown")
    chosen = np.sort(random.permutation(stream, pictures.test.count)[: options.count])
    ((images, labels),) = list(pictures.test.reader.read([chosen]))
    return (
        images.clone(),
        [f"test {sample}" for sample in chosen],
        [trained.classes[label] for label in labels.tolist()],
    )


@torch.no_grad()
def predict(trained: Trained, images: Tensor, names: list[str], actual: list[str] | None = None) -> list[Prediction]:
    """Predictions for stored pictures (n, side, side, 3) uint8."""
    state, options = trained.state, trained.config
    device = next(trained.net.parameters()).device
    statistics = Statistics(tuple(state["mean"]), tuple(tuple(row) for row in state["covariance"]))
    dtype = arithmetic(options.train, device)
    views = Views(options.data, state["side"], statistics, options.seed, device, dtype)
    logits = torch.cat([logits_of(trained.net, views.test(part.to(device)), options.train) for part in images.split(256)])
    probabilities, classes = logits.softmax(1).topk(min(SHOWN, len(trained.classes)))
    return [
        Prediction(name, tuple(trained.classes[index] for index in row), tuple(shares), actual[number] if actual else None)
        for number, (name, row, shares) in enumerate(zip(names, classes.tolist(), probabilities.tolist(), strict=True))
    ]


def draw(predictions: list[Prediction], images: Tensor, path: Path) -> None:
    """The pictures in a grid, each with its label beside the actual one (green right, red wrong) and top-5 bars (Figure 4)."""
    from matplotlib.figure import Figure

    across = min(4, len(predictions))
    down = -(-len(predictions) // across)
    figure = Figure(figsize=(across * 2.6, down * 3.4), layout="constrained")
    grid = figure.subplots(down * 2, across, squeeze=False, height_ratios=[2, 1] * down)
    for axes in grid.flat:
        axes.axis("off")
    for number, (prediction, image) in enumerate(zip(predictions, images.numpy(), strict=True)):
        picture, bars = grid[number // across * 2][number % across], grid[number // across * 2 + 1][number % across]
        right = prediction.actual in (None, prediction.labels[0])
        picture.imshow(image, interpolation="nearest" if len(image) < 64 else "antialiased")
        actual = "" if prediction.actual is None else f"\nactual: {prediction.actual}"
        label = prediction.labels[0] if actual else f"{Path(prediction.name).name}: {prediction.labels[0]}"
        picture.set_title(f"predicted: {label}{actual}" if actual else label, fontsize=9, color="darkgreen" if right else "firebrick")
        colours = ["mediumseagreen" if name == prediction.actual else "lightsteelblue" for name in prediction.labels]
        bars.barh(range(len(prediction.labels)), prediction.probabilities, color=colours, height=0.8)
        bars.set(xlim=(0, 1), ylim=(SHOWN - 0.5, -0.5))
        for place, name in enumerate(prediction.labels):
            bars.text(0.02, place, name, va="center", fontsize=7)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise UserError(f"save={path}: cannot be written ({error.strerror or error}); give another place") from None
