"""ImageNet 2012, whole or in part, in any of its layouts at `data.root`: folders, its own tar archives, or Kaggle's (docs/data.md)."""

from distalex.data.sources.folder import count_classes as count_classes
from distalex.data.sources.folder import open_source as open_source

CLASSES = 1000  # unless fewer lie at data.root
STORED_SIDE = 256
PHOTOGRAPHS = True
NEEDS = ("root",)
TAKES = ("labels", "columns")
