"""What the site has beside docs/: the README as its first page, the files that pages link to, and a page of the modules."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(\.\./([\w./-]+)(#[\w-]*)?\)")
CODE = re.compile(r"<code>([^<>]*)</code>")
OPTION = re.compile(r"--[a-z][\w.-]*(?![^<]*>)")
WORD = r'<span class="word">\g<0></span>'
LONG = 26
"""Most letters of a word of code that never breaks."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".sh": "bash"}
ROOMS = ("api", "train", "model", "parallel", "optim", "data", "runs", "evaluate", "predict")
"""Rooms whose modules the page of modules shows."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated: index.md, api.md, and one for each file that a page links to."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "site.css", content=(ROOT / ".mkdocs" / "site.css").read_text(encoding="utf-8")))
    files.append(File.generated(config, "index.md", content=readme.replace("](docs/", "](")))
    modules = "\n\n".join(f"::: {module}" for module in _modules())
    files.append(File.generated(config, "api.md", content=f"# Modules\n\n{modules}\n"))
    for path in (ROOT / "docs").glob("*.ipynb"):
        files.append(File.generated(config, f"{path.stem}.md", content=_page_of_notebook(path)))
    for name in sorted({name for text in _texts() for name, _ in LINK.findall(text)} - {"README.md"}):
        language = LANGUAGES.get(Path(name).suffix, "text")
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, _page_of(name), content=f"# {name}\n\n````{language}\n{text}\n````\n"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that leave docs/ at the pages generated for them."""
    if "/" in page.file.src_uri:  # from there `../` does not leave it
        return markdown
    return LINK.sub(lambda link: f"]({'index.md' if link[1] == 'README.md' else _page_of(link[1])}{link[2] or ''})", markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Keep words of code whole, such as `--data.root`, which a browser would break; one over LONG letters may break after = / or ,."""
    parts = re.split(r"(<pre.*?</pre>)", html, flags=re.DOTALL)
    return "".join(OPTION.sub(WORD, part) if part.startswith("<pre") else CODE.sub(_whole, part) for part in parts)


def _whole(code: re.Match[str]) -> str:
    words = re.sub(r"\S+", lambda word: "<wbr>".join(WORD.replace(r"\g<0>", part) for part in _parts(word[0])), code[1])
    return f"<code>{words}</code>"


def _parts(word: str) -> list[str]:
    ends = "=/," if word.startswith("-") else "=/,."
    return [part for part in re.split(rf"(?<=[{ends}])", word) if part] if len(word) > LONG else [word]


def _page_of_notebook(path: Path) -> str:
    """Cells of a notebook as a page: text as it is, code as blocks."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    parts = [text if kind == "markdown" else f"```python\n{text}\n```" for kind, text in cells]
    heading, *rest = parts[0].splitlines()
    return "\n\n".join([heading, f"*This page is a notebook: [{path.name}]({path.name}).*", "\n".join(rest), *parts[1:]])


def _modules() -> Iterator[str]:
    for room in ROOMS:
        for path in sorted((ROOT / "distalex" / room).rglob("*.py")):
            if not path.name.startswith("_"):
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _texts() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")]


def _page_of(name: str) -> str:
    return f"files/{name}.md"
