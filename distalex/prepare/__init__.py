"""Writing images into .beton files. The room can be called: `distalex.prepare(DIR)`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def run(source: Any = None, root: Any = None, **options: Any) -> list[Path]:
    """Write images into prepared files and return these, the training images' first.

    `source`: a folder, archive or table of images, or a data set's name with its `root`. Options are those of
    `python -m distalex.prepare`, e.g. out="mine.beton", holdout=0.1. Raises UserError.
    """
    from distalex.config.schema import plain_values, validate
    from distalex.prepare.options import PrepareOptions
    from distalex.prepare.work import prepare_source

    given = {"source": source, "root": root, **options}
    values = plain_values({name: value for name, value in given.items() if value is not None})
    return [path for one in prepare_source(validate(PrepareOptions, values, {})) for path in one.paths]


class _Room(ModuleType):
    """The import system binds this room to the name `prepare` in distalex, where a function of that name could not stay."""

    __call__ = staticmethod(run)


sys.modules[__name__].__class__ = _Room
