"""The networks that `model.name` names, one in each file.

A file declares:
- its docstring, the first paragraph of which `--help` prints;
- `build(config, classes, image_size)`, which returns a `Network` with uninitialised weights;
- `SMALLEST`, the smallest side of its input in pixels;
- `DEFAULTS`, defaults of `model` options that differ from the common ones;
- `OPTIONS`, names of `model` options that only this network takes;
- `ONE_TOWER = True` where it has no columns;
- `OPTIONAL_LAYERS`, hidden layers that a width of 0 leaves out;
- `REFUSED_INIT`, values of `model.init` that do not fit its layers;
- `CONVOLUTIONS`, its convolutions, where their number and widths are fixed;
- `TORCHVISION_KEYS = True` where its layers are those of torchvision's AlexNet.

All but the first three may be left out. Constants are literals, which the config reads without importing torch.
"""
