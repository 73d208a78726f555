"""What the documents promise: their commands parse, their paths and their Python work."""

import argparse
import importlib
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from lib import cli
from lib.analysis import metrics
from lib.commands._options import Parser
from lib.commands.data import ELSEWHERE
from lib.commands.trackers import named_trackers
from lib.config.loader import list_configs
from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import dataset_names
from lib.tracker.registry import trackers
from lib.utils.advice import SCRIPTS as SCRIPTS_OF
from tests.helpers.video_files import numbered, write_av

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    *("README.md", "MODEL_ZOO.md", "CONTRIBUTING.md", "SECURITY.md"),
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("external/*/README.md")),
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("integrations/*/README.md")),
)
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for top in ("tracking", "scripts")
    for path in (ROOT / top).glob("[!_]*.py")
)


def code_blocks(document: str, language: str) -> Iterator[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    yield from re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def command_lines(block: str) -> Iterator[list[str]]:
    """The command lines of a bash block, as words, without comments and settings before them."""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # SEQTRACK_DATA=/data python …
            words = words[1:]
        if words:
            yield words


def commands(document: str) -> list[list[str]]:
    return [words for block in code_blocks(document, "bash") for words in command_lines(block)]


COMMANDS = [
    pytest.param(document, words, id=f"{document}: {' '.join(words)}")
    for document in DOCUMENTS
    for words in commands(document)
]


def command_module(words: list[str]) -> tuple[str, list[str]] | None:
    """The module of lib.commands behind a command line, and its arguments."""
    if words[0] == "seqtrack":
        return within(cli.COMMANDS[words[1]][0], words[2:])
    if words[0] == "torchrun":
        script = next(number for number, word in enumerate(words) if word.endswith(".py"))
        words = ["python", *words[script:]]
    if words[0] == "python" and words[1].startswith(("tracking/", "scripts/")):
        source = (ROOT / words[1]).read_text(encoding="utf-8")
        match = re.search(
            r"run(?:_and_leave)?\(\"((?:lib\.commands|benchmarks|tests\.\w+)\.\w+)\"\)", source
        )
        assert match, f"{words[1]} calls no command of lib.commands"
        return within(match[1], words[2:])
    return None


def within(module: str, arguments: list[str]) -> tuple[str, list[str]]:
    """The command behind an action of `data` that is a command of its own."""
    if module == "lib.commands.data" and arguments[:1] and arguments[0] in ELSEWHERE:
        return ELSEWHERE[arguments[0]][0], arguments[1:]
    return module, arguments


def parse(module: str, arguments: list[str]) -> argparse.Namespace:
    return importlib.import_module(module).build_parser().parse_args(arguments)


@pytest.mark.parametrize(("document", "words"), COMMANDS)
def test_command_line(document: str, words: list[str]) -> None:
    scripts = [word for word in words if word.endswith((".py", ".sh"))]
    assert all((ROOT / script).is_file() for script in scripts)
    if words[0] in ("bash", "source") or words[0].startswith("."):
        assert scripts or any(word.startswith(".venv") for word in words)
    elif words[:1] == ["python"] and words[1].startswith(("website/", "benchmarks/")):
        source = (ROOT / words[1]).read_text(encoding="utf-8")
        assert all(f'"{word}"' in source for word in words[2:] if word.startswith("--"))
    elif words[0] in ("python", "seqtrack", "torchrun") and "-m" not in words:
        found = command_module(words)
        assert found, f"nothing of ours: {words}"
        if {"--help", "--version"} & set(found[1]):
            return
        check_names(parse(*found))
    else:
        others = ("python", "pip", "git", "make", "cd", "export", "rm", "pre-commit", "docker")
        assert words[0] in (*others, "cp", "cvat-cli", "label-studio")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_of_commands_are_marked(document: str) -> None:
    """A block without a language is looked at by none of these tests."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for kind, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        ours = re.match(r"(pip|python|seqtrack|bash) ", block)
        assert kind or not ours, block


def spoken_lines(document: str) -> Iterator[list[str]]:
    """`seqtrack COMMAND …` within the text, with arguments and without places to fill in."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for line in re.findall(
        r"`seqtrack (\w+ [^`…\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    ):
        if not re.search(r"\b(FILE|FOLDER|NAME|COMMAND|ACTION|DIR|URL|X,Y,W,H)\b", line):
            yield ["seqtrack", *shlex.split(line)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_command_lines_within_the_text(document: str) -> None:
    for words in spoken_lines(document):
        found = command_module(words)
        assert found
        # A tracker may be one that the text makes up.
        parse(*found)


def test_the_documents_have_command_lines_within_the_text() -> None:
    assert sum(len(list(spoken_lines(document))) for document in DOCUMENTS) >= 15


def check_names(args: argparse.Namespace) -> None:
    """Configurations and data sets that a command names exist; placeholders have a slash."""
    configs = getattr(args, "config", None) or []
    words = getattr(args, "trackers", []) if hasattr(args, "config") else []
    for tracker, name in named_trackers(words, [configs] if isinstance(configs, str) else configs):
        assert tracker in trackers()
        if tracker == "seqtrack" and "/" not in name and name != "my.yaml":
            assert name in list_configs()
    datasets = getattr(args, "dataset", None) or []
    for name in [datasets] if isinstance(datasets, str) else datasets:
        assert "/" in name or name in dataset_names(), name


def test_the_documents_have_commands() -> None:
    ours = [
        words for document in DOCUMENTS for words in commands(document) if command_module(words)
    ]
    assert len(ours) >= 10
    assert ["bash", "scripts/quickstart.sh"] in commands("README.md")
    assert ["bash", "scripts/test.sh"] in commands("README.md")


def shown_in(*documents: str) -> set[str]:
    """The modules of lib.commands whose commands the documents show."""
    return modules_of(words for document in documents for words in commands(document))


def modules_of(lines: Iterable[list[str]]) -> set[str]:
    return {found[0] for words in lines if (found := command_module(words))}


def all_parsers() -> Iterator[Parser]:
    """Those of all commands and their actions, but of the tracker process of VOT."""
    others = [module for module, _ in ELSEWHERE.values()]
    for module in [*(module for module, _ in cli.COMMANDS.values()), *others]:
        parser = importlib.import_module(module).build_parser()
        yield parser
        for option in parser._actions:
            if isinstance(option, argparse._SubParsersAction):
                left_out = ("serve", *ELSEWHERE)
                yield from (one for name, one in option.choices.items() if name not in left_out)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_page_shows_every_command(name: str) -> None:
    """In the table of commands, with the script that is the same function."""
    rows = (ROOT / "docs/migrate.md").read_text(encoding="utf-8").splitlines()
    (row,) = [row for row in rows if f"`{SCRIPTS_OF[name]}`" in row and row.startswith("| `seqtr")]
    assert name in re.findall(r"[a-z]+", row.split("|")[1])
    module, _ = command_module(["python", SCRIPTS_OF[name]]) or ("", [])
    assert module == cli.COMMANDS[name][0]
    assert callable(importlib.import_module(module).main)


@pytest.mark.parametrize("parser", [pytest.param(one, id=one.prog) for one in all_parsers()])
def test_help_has_words_for_every_option_and_examples_that_parse(parser: Parser) -> None:
    for option in parser._actions:
        assert option.help, option.option_strings
        assert option.nargs != "+" or not option.option_strings, "it would swallow the next word"
    assert all(len(line.split()) < 60 for line in parser.format_help().splitlines())
    # Every option of ours stands under a heading that says what it is about.
    loose = [one.dest for one in parser._optionals._group_actions if one.help != argparse.SUPPRESS]
    assert loose == ["help"]
    for example in parser.examples:
        check_names(parser.parse_args(shlex.split(example)))


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_shown_somewhere(script: str) -> None:
    module, _ = command_module(["python", script]) or ("", [])
    assert module in shown_in(*DOCUMENTS)


def anchor(heading: str) -> str:
    """What a heading is linked to by: lower case, words joined by dashes."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")


def anchors(document: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    missing = []
    for target, place in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", text):
        path = (ROOT / document).parent / target if target else ROOT / document
        if not path.exists() or (place and place not in anchors(path)):
            missing.append(f"{target}#{place}")
    assert not missing


def option_tables(document: str) -> Iterator[tuple[set[str], set[str]]]:
    """The options of each table, and the commands of its section, else of the document."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        blocks = re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
        shown = modules_of(words for block in blocks for words in command_lines(block))
        for table in re.findall(r"(?:^\| `--[^\n]+\n)+", section, re.MULTILINE):
            options = set(re.findall(r"^\| `(--[\w-]+)", table, re.MULTILINE))
            yield options, shown or modules_of(commands(document))


TABLES = [
    pytest.param(options, modules, id=f"{document}: {min(options)}")
    for document in DOCUMENTS
    for options, modules in option_tables(document)
]


def test_the_documents_have_tables_of_options() -> None:
    assert len(TABLES) >= 3


@pytest.mark.parametrize(("options", "modules"), TABLES)
def test_a_table_of_options_is_that_of_a_command_of_its_section(
    options: set[str], modules: set[str]
) -> None:
    unknown = {module: options - options_of(module) for module in modules}
    assert set() in unknown.values(), unknown


def options_of(module: str) -> set[str]:
    """All that a command takes, its actions' options too."""
    parsers = [importlib.import_module(module).build_parser()]
    found: set[str] = set()
    for parser in parsers:
        for action in parser._actions:
            found.update(name.replace("_", "-") for name in action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                parsers.extend(action.choices.values())
    return found


SNIPPETS = [
    pytest.param(document, block, id=f"{document} {number}")
    for document in DOCUMENTS
    if document != "docs/python.md"  # tests/api/test_examples.py has its own clip.
    for number, block in enumerate(code_blocks(document, "python"), start=1)
]


@pytest.mark.parametrize(("document", "block"), SNIPPETS)
def test_python_of_the_documents(
    document: str,
    block: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if "clip.mp4" in block:
        write_av(tmp_path / "clip.mp4", numbered(16, 320, 240))
    # A snippet adds a row.
    monkeypatch.setattr(metrics, "OPE_METRICS", metrics.OPE_METRICS)
    exec(compile(block, document, "exec"), {})
    said = capsys.readouterr().out
    assert bool(said) == ("print(" in block)
    assert "np.float64(" not in said, "a reader wants to see numbers"


def test_the_readme_has_python() -> None:
    assert list(code_blocks("README.md", "python"))


def test_quickstart_commands_parse() -> None:
    """The script's own command lines: a typo there would break a stranger's first minute."""
    text = (ROOT / "scripts/quickstart.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^python (?:tracking|scripts)/.*$", text, re.MULTILINE)
    assert len(lines) == 9
    for line in lines:
        words = shlex.split(line.replace('"$@"', "").replace("$data", "synthetic"))
        module, arguments = command_module(words) or ("", [])
        check_names(parse(module, arguments))


def test_default_tree_is_documented() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = resolve_paths(env={}).dataset_results_dir("seqtrack", "seqtrack_b256", "lasot")
    assert results.relative_to(ROOT).as_posix() in readme
