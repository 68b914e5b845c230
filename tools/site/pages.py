"""Lay out the pages of the book: notebooks, pages and docstrings, and the links between them.

The sources stay as they are.  Copies of them are written to a folder with the same tree, so that
links among them keep working.  A link to a file that is no page, such as a program, becomes a link
into the repository if its address is known, and plain words otherwise.
"""

from __future__ import annotations

import json
import posixpath
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from cmlib import files
from cmlib.figures.catalogue import FIGURES

PICTURES = (".png", ".svg", ".webp", ".gif")
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
CORPUS_PAGE = files.ROOT / "docs" / "corpus"  # a page of its own, with clips that play
COURSE = ("docs/course", "docs/glossary", "docs/reading")  # pages to read beside the notebooks
FENCED = r"(^```.*?^```)"  # code in a page
LONGEST_ALT = 200  # letters of an alternative text

FRONT = """\
# Context Matters

*How do you perceive my face?* It depends on what you hear.

<a href="demo/index.html"><strong>Try it in your browser</strong></a>: pick a face and a voice, drag
the context, and see how the face is perceived. Nothing has to be installed, and nothing leaves the
page.

```{{image}} docs/figures/mental_representations.webp
:alt: A neutral face of a drawn person: original, reconstruction, and as perceived with seven voices
```

{notebooks}

{course}

{pages}

{reference}
"""


def write_pages(folder: Path, repository: str = "") -> None:
    """Write everything that Sphinx needs into ``folder``, which is emptied first.

    ``repository`` is the address of the project on GitHub, if it is known.
    """
    shutil.rmtree(folder, ignore_errors=True)
    documents = page_paths()
    for path in documents:
        name = path.relative_to(files.ROOT).as_posix()
        if path.suffix == ".ipynb":
            text = notebook_page(path, name, documents, repository)
        else:
            text = with_links(path.read_text(encoding="utf-8"), name, documents, repository)
        files.write_text(folder / name, text)
    for picture in sorted((files.ROOT / "docs").rglob("*")):
        if picture.suffix in PICTURES:
            target = folder / picture.relative_to(files.ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, target)
    copy_corpus_page(folder / "_extra")
    modules = write_reference(folder / "reference")
    files.write_text(folder / "index.md", front_page(documents, modules))


def page_paths() -> list[Path]:
    """The notebooks and pages of the project that make the book, in its order."""
    root = files.ROOT
    notebooks = sorted((root / "notebooks").glob("*.ipynb"))
    pages = [root / "README.md", root / "CONTRIBUTING.md", root / "checkpoints" / "README.md"]
    pages += sorted((root / "docs").rglob("*.md")) + sorted((root / "data").glob("*/README.md"))
    return [*notebooks, *pages]


def copy_corpus_page(folder: Path) -> None:
    """The page that plays clips, and those clips, in the same tree."""
    page = folder / CORPUS_PAGE.relative_to(files.ROOT)
    shutil.copytree(CORPUS_PAGE, page)
    text = (page / "index.html").read_text(encoding="utf-8")
    for name in re.findall(r'src="\.\./\.\./(data/[^"]+)"', text):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(files.ROOT / name, folder / name)
    files.write_text(page / "index.html", text.replace('README.md"', 'README.html"'))


# -------------------------------------------------------------------- contents


def front_page(documents: Sequence[Path], modules: Sequence[str]) -> str:
    """The first page of the book, in MyST: all notebooks, pages and rooms."""
    names = [path.relative_to(files.ROOT).with_suffix("").as_posix() for path in documents]
    notebooks = [name for name in names if name.startswith("notebooks/")]
    course = [name for name in COURSE if name in names]
    pages = [name for name in names if name not in (*notebooks, *course)]
    return FRONT.format(
        notebooks=contents("The notebooks", notebooks),
        course=contents("Beside the notebooks", course),
        pages=contents("Results, data and how it is built", pages),
        reference=contents("The library", [f"reference/{module}" for module in modules]),
    )


def contents(caption: str, names: Sequence[str]) -> str:
    """A table of contents, in MyST, of the documents with these names."""
    lines = "\n".join(names)
    return f"```{{toctree}}\n:caption: {caption}\n:maxdepth: 1\n\n{lines}\n```"


def write_reference(folder: Path) -> list[str]:
    """A page for each room of the library, from its docstrings; the names of the rooms."""
    architecture = (files.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^\| `cmlib\.(\w+)` \|", architecture, flags=re.M)
    for room in rooms:
        path = files.ROOT / "cmlib" / room
        sources = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        sources = [source for source in sources if source.stem != "__main__"]  # a program
        title = f"cmlib.{room}"
        parts = [f"{title}\n{'=' * len(title)}\n"]
        for source in sources:
            module = ".".join(source.relative_to(files.ROOT).with_suffix("").parts)
            module = module.removesuffix(".__init__")
            if module != title:
                parts.append(f"{module}\n{'-' * len(module)}\n")
            parts.append(f".. automodule:: {module}\n")
        files.write_text(folder / f"{room}.rst", "\n".join(parts))
    return rooms


# -------------------------------------------------------------------- pages


def with_links(text: str, name: str, documents: Sequence[Path], repository: str) -> str:
    """The Markdown of the page ``name``, with links that lead somewhere in the book."""

    def replaced(match: re.Match) -> str:
        words, target = match.groups()
        address, _, _ = target.partition("#")
        if not address or re.match(r"[a-z]+:", address):
            return match.group()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), address))
        source = files.ROOT / path
        if source in documents:
            return match.group()
        if source.parent == CORPUS_PAGE:  # Sphinx does not know it
            return f'<a href="{target}">{words}</a>'
        if repository and source.exists():
            kind = "tree" if source.is_dir() else "blob"
            return f"[{words}]({repository}/{kind}/main/{path})"
        return words

    parts = re.split(FENCED, text, flags=re.S | re.M)
    parts[::2] = [keep_together(LINK.sub(replaced, part)) for part in parts[::2]]
    return "".join(parts)


def keep_together(text: str) -> str:
    """A number and its per cent sign stay on one line."""
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)


def below_title(text: str) -> str:
    """A part of a page whose headings are one level lower, because the page has a title above."""
    parts = re.split(FENCED, text, flags=re.S | re.M)
    parts[::2] = [re.sub(r"^(?=#{1,5} )", "#", part, flags=re.M) for part in parts[::2]]
    return "".join(parts)


def notebook_page(path: Path, name: str, documents: Sequence[Path], repository: str) -> str:
    """A notebook with its published outputs, alternative texts, and links to run it elsewhere."""
    book = json.loads(path.read_text(encoding="utf-8"))
    prose = ""
    has_parts = any(is_part(cell) for cell in book["cells"][1:])
    for cell in book["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            prose = without_pictures(source) or prose
            cell["source"] = with_links(source, name, documents, repository)
            if has_parts and cell is not book["cells"][0]:
                cell["source"] = below_title(cell["source"])
        elif any("image/png" in output.get("data", {}) for output in cell["outputs"]):
            cell["metadata"]["mystnb"] = {"image": {"alt": alternative_text(source, prose)}}
    if repository:
        first = book["cells"][0]
        title, _, rest = first["source"].partition("\n")
        first["source"] = f"{title}\n\n{run_elsewhere(name, repository)}\n{rest}"
    return json.dumps(book)


def is_part(cell: dict) -> bool:
    """Whether a cell begins with a heading of the first level, as the title of a notebook is."""
    return cell["cell_type"] == "markdown" and "".join(cell["source"]).startswith("# ")


def run_elsewhere(name: str, repository: str) -> str:
    """Links that open a notebook in Colab and in Binder."""
    project = repository.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{project}/blob/main/{name}"
    binder = f"https://mybinder.org/v2/gh/{project}/HEAD?labpath={name}"
    needs = f"{'../' * name.count('/')}docs/site.md#run-a-notebook-online"
    return f"Run it: [Colab]({colab}) · [Binder]({binder}) · [what they need]({needs})"


def without_pictures(text: str) -> str:
    """Markdown without its pictures, each of which has an alternative text of its own."""
    return re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text).strip()


def alternative_text(source: str, prose: str) -> str:
    """What a figure shows: its title in the catalogue, else what the text above it begins with."""
    for figure in FIGURES.values():
        if f'"{figure.name}"' in source:
            return figure.title
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[*`#>|$]", r"\1", prose)
    words = " ".join(plain.split())
    if len(words) <= LONGEST_ALT:
        return words or "a figure"
    return words[:LONGEST_ALT].rsplit(" ", 1)[0] + " …"
