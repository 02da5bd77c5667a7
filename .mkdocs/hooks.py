"""What the site has beside docs/: the README as its first page, the files that pages link to, and a page of the modules."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(\.\./([\w./-]+)(#[\w-]*)?\)")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".sh": "bash"}
MODULES = (
    "train.loop", "train.state", "config.config", "model.network", "model.alexnet", "model.networks.paper", "parallel.columns",
    "parallel.owt", "parallel.parallelize", "parallel.mesh", "parallel.topology", "optim.optimizer", "optim.schedule", "data.batches",
    "data.augment.augmentation", "random", "runs.checkpoint", "runs.trained", "evaluate.evaluation", "predict.predictions",
    "predict.neighbours", "errors",
)  # fmt: skip


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=readme.replace("](docs/", "](")))
    modules = "\n\n".join(f"::: distalex.{module}" for module in MODULES)
    files.append(File.generated(config, "api.md", content=f"# Modules\n\n{modules}\n"))
    for name in sorted({name for text in _texts() for name, _ in LINK.findall(text)} - {"README.md"}):
        language = LANGUAGES.get(Path(name).suffix, "text")
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, _page_of(name), content=f"# {name}\n\n````{language}\n{text}\n````\n"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links that leave docs/ point at the pages made of what they name."""
    if "/" in page.file.src_uri:  # from there `../` does not leave it
        return markdown
    return LINK.sub(lambda link: f"]({'index.md' if link[1] == 'README.md' else _page_of(link[1])}{link[2] or ''})", markdown)


def _texts() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")]


def _page_of(name: str) -> str:
    return f"files/{name}.md"
