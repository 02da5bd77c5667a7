"""Predicted images/s from 1 to 1,024 devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distalex.config.choices import declared_in
from distalex.config.config import MODES, Config
from distalex.console import aligned
from distalex.files import save_figure
from distalex.parallel.topology import mode_of
from distalex.plan.cost import StepEstimate, divides, predict
from distalex.plan.layers import layers_of
from distalex.plan.machine import Machine

CURVE = tuple(2**power for power in range(11))
"""Numbers of devices on a curve."""
PER_DEVICE = 512
"""Images of each device in the curve that scales the batch with the devices."""


def modes_of_several() -> list[str]:
    """Return the modes that several processes can use."""
    return [name for name, mode in declared_in(MODES).items() if mode.facts["LEAST"] > 1]


def curves(config: Config, classes: int, machine: Machine, batch: int, per_device: bool) -> dict[str, dict[int, StepEstimate]]:
    """Predict 1 to 1,024 devices in every mode, by mode and devices; `batch` is the global batch size, or each device's."""
    layers = layers_of(config.model, classes, config.data.image_size, config.train.precision)
    return {
        mode: {
            devices: predict(config, classes, machine, mode, devices, batch * devices if per_device else batch)
            for devices in CURVE
            if divides(config, layers, mode, devices) and (per_device or batch >= devices)
        }
        for mode in modes_of_several()
    }


def draw_curves(config: Config, classes: int, machine: Machine, batch: int, path: Path) -> None:
    """Draw two panels, one with a fixed batch and one with a fixed share of each device, to `path`, and print their tables.

    Raises UserError where `path` cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, per_device, images in zip(panels, (False, True), (batch, PER_DEVICE), strict=True):
        what = f"{images:,} images per {'device' if per_device else 'step, over all devices'}"
        found = curves(config, classes, machine, images, per_device)
        _draw_panel(axes, found)
        axes.set_title(what, fontsize=11)
        print(f"\nimages/s at {what}")
        print(aligned(_curve_rows(found)))
    panels[0].set_ylabel("predicted images/s")
    panels[0].legend(fontsize=9, loc="upper left", frameon=False)
    figure.suptitle(
        f"A model, not a measurement: {config.model.label} network, {config.train.precision}, on {machine.name} devices, "
        f"{machine.devices_per_node} per host",
        fontsize=11,
    )
    save_figure(figure, path, "curve")
    print(f"drawn: {path}")


def _draw_panel(axes: Any, found: dict[str, dict[int, StepEstimate]]) -> None:
    one = _one_device(found)
    axes.plot(CURVE, [one * devices for devices in CURVE], color="grey", linestyle="--", linewidth=1, label="one device, times devices")
    for mode, line in found.items():
        if line:
            rates = [prediction.images_per_second for prediction in line.values()]
            axes.plot(list(line), rates, marker="o", markersize=4, color=mode_of(mode).COLOUR, label=mode_of(mode).LABEL)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(CURVE, [f"{devices:,}" for devices in CURVE])
    axes.set_xlabel("devices")
    axes.grid(alpha=0.3, which="major")
    axes.spines[["top", "right"]].set_visible(False)


def _one_device(found: dict[str, dict[int, StepEstimate]]) -> float:
    """Return the images/s of one device, which any mode predicts that runs on one."""
    return next(line[1].images_per_second for line in found.values() if 1 in line)


def _curve_rows(found: dict[str, dict[int, StepEstimate]]) -> list[list[str]]:
    def cell(mode: str, devices: int) -> str:
        prediction = found[mode].get(devices)
        return f"{prediction.images_per_second:,.0f}" if prediction else "-"

    one = _one_device(found)
    rows = [["devices", *found, "best ÷ linear"]]
    for devices in CURVE:
        best = max(line[devices].images_per_second for line in found.values() if devices in line)
        rows.append([str(devices), *(cell(mode, devices) for mode in found), f"{100 * best / one / devices:.0f} %"])
    return rows
