"""README and docs: every link, command, option, setting, test and function that they name exists."""

import ast
import importlib.util
import re
import runpy
import sys
from functools import cache
from pathlib import Path

import pytest
from django.core.management import CommandParser, get_commands, load_command_class

import moovitamix.management.commands.test as test_command
from benchmarks.__main__ import BENCHMARKS
from ingestion.alerts.channels import is_apprise_url
from ingestion.alerts.messages.render import message_templates
from ingestion.pipeline.ingest import EXIT_CODES, LOCKED_EXIT_CODE
from moovitamix import cli
from tests.support.documents import (
    DOCUMENTS,
    anchors,
    code_blocks,
    commands,
    links,
    name_of,
    prose,
    section,
)
from tests.support.project import ROOT

README = ROOT / "README.md"
ARCHITECTURE_PAGE = ROOT / "docs" / "architecture.md"
COMMANDS_PAGE = ROOT / "docs" / "commands.md"
OPERATING_PAGE = ROOT / "docs" / "operating.md"
FIRST_STEPS, ALERTS_TABLE = "What to do about an incident", "Failures and their alerts"
CONFIGURATION_PAGE = ROOT / "docs" / "configuration.md"
OUR_COMMANDS = sorted(
    name for name, app in get_commands().items() if app in {"moovitamix", "ingestion", "recommender"}
)
CONSOLE_SCRIPTS = ("start-server", "start-pipeline", "run-tests")
README_SECTIONS = [
    "Two commands", "For real", "The twelve most used commands", "Five settings", "How good it is",
    "What happens when things break", "Where to change what", "Read more",
]  # fmt: skip
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


class TestReadme:
    def test_it_fits_on_one_page(self) -> None:
        assert len(README.read_text().splitlines()) <= 120

    def test_its_sections_are_the_agreed_ones(self) -> None:
        assert re.findall(r"^## (.+)$", README.read_text(), re.MULTILINE) == README_SECTIONS

    @pytest.mark.parametrize(
        ("title", "rows"),
        [("The twelve most used commands", 12), ("Five settings", 5), ("How good it is", 6),
         ("What happens when things break", 6)],
    )  # fmt: skip
    def test_its_tables_are_as_long_as_they_claim(self, title: str, rows: int) -> None:
        table = [line for line in section(README, title).splitlines() if line.startswith("|")]

        assert len(table) - 2 == rows

    def test_its_pictures_are_small_enough_to_load(self) -> None:
        pictures = [link.target for link in links(README) if link.target.endswith(".png")]

        assert len(pictures) == 2
        assert [name for name in pictures if (ROOT / name).stat().st_size >= 150_000] == []


@each_document
class TestReferences:
    def test_links_lead_to_a_file_and_a_heading(self, document: Path) -> None:
        broken = []
        for link in links(document):
            target = (document.parent / link.target).resolve() if link.target else document
            if not target.exists() or (link.anchor and link.anchor not in anchors(target)):
                broken.append(link)

        assert broken == []

    def test_management_commands_exist(self, document: Path) -> None:
        named = {name for text in commands(document) for name in re.findall(r"\bmanage\.py ([a-z]\w+)", text)}

        assert named - set(get_commands()) == set()

    def test_options_of_management_commands_exist(self, document: Path) -> None:
        wrong = []
        for text in commands(document):
            call = re.search(r"\bmanage\.py (\w+)(.*)", text.split("  #")[0])
            if call and call[1] in OUR_COMMANDS and call[1] != "test":
                wrong += [
                    text for option in re.findall(r"(?<!\S)--?[a-z][\w-]*", call[2])
                    if option not in options_of(call[1])
                ]  # fmt: skip

        assert wrong == []

    def test_tests_exist(self, document: Path) -> None:
        named = set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", document.read_text()))

        assert named - existing_tests() == set()

    def test_files_and_folders_exist(self, document: Path) -> None:
        named = re.findall(
            r"`((?:benchmarks|docs|ingestion|moovitamix|recommender|templates|tests)/[\w./*-]*)[`:]",
            document.read_text(),
        )

        assert [
            path for path in named if not (list(ROOT.glob(path)) if "*" in path else (ROOT / path).exists())
        ] == []

    def test_names_in_files_exist(self, document: Path) -> None:
        named = re.findall(r"`([\w/]+\.py):([A-Za-z_][\w.]*)`", document.read_text())

        assert [f"{file}:{name}" for file, name in named if name not in names_defined_in(file)] == []

    def test_settings_exist(self, document: Path) -> None:
        """Words in capitals that look like a setting: with an underscore, or assigned."""
        named = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", prose(document)))

        assert named - known_variables() - constants() == set()

    def test_benchmarks_exist(self, document: Path) -> None:
        texts = "\n".join(commands(document))
        modules = set(re.findall(r"-m (benchmarks\.[\w.]*\w)", texts))

        assert set(re.findall(r"-m benchmarks ([a-z]+)", texts)) - set(BENCHMARKS) == set()
        assert {name for name in modules if importlib.util.find_spec(name) is None} == set()

    @pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
    def test_addresses_of_alert_channels_can_be_read(self, document: Path) -> None:
        addresses = re.findall(r"`ALERT_URLS=([^`]+)`", document.read_text())

        assert [address for address in addresses if not is_apprise_url(address)] == []


class TestArchitecturePage:
    @pytest.mark.parametrize(
        "trip",
        [
            "From a page of the source to a row", "From a GET to a list",
            "From feedback to a cluster assignment", "From a retrain to a promotion",
        ],
    )  # fmt: skip
    def test_each_trip_counts_the_files_that_a_reader_opens(self, trip: str) -> None:
        text = section(ARCHITECTURE_PAGE, trip)
        steps = re.findall(r"^(\d+)\. `([\w/]+\.py):[\w.]+`", text, re.MULTILINE)

        assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
        assert f"Files: {len({file for _, file in steps})}\n" in text


class TestCommandsPage:
    def test_every_command_has_its_section_with_every_option(self) -> None:
        wanted = {(name, option) for name in documented_commands() for option in options_of(name)}

        missing = [
            (name, option) for name, option in wanted if f"`{option}" not in section(COMMANDS_PAGE, name)
        ]

        assert missing == []

    @pytest.mark.parametrize("name", OUR_COMMANDS)
    def test_every_command_prints_its_help(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        command = load_command_class(get_commands()[name], name)

        if isinstance(command, test_command.Command):
            command.run_from_argv(["manage.py", name, "--help"])
        else:
            with pytest.raises(SystemExit, match="0"):
                command.run_from_argv(["manage.py", name, "--help"])

        assert f"manage.py {name}" in capsys.readouterr().out

    @pytest.mark.parametrize("name", CONSOLE_SCRIPTS)
    def test_every_console_script_is_installed_and_has_its_section(self, name: str) -> None:
        declared = section(COMMANDS_PAGE, "Console scripts")

        assert f'\n{name} = "moovitamix.cli:' in (ROOT / "pyproject.toml").read_text()
        assert f"\n### {name}\n" in declared

    def test_the_options_of_start_pipeline_are_those_that_it_takes(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["start-pipeline", "--help"])

        with pytest.raises(SystemExit):
            cli.start_pipeline()

        printed = set(re.findall(r"(?<!\S)--[a-z-]+", capsys.readouterr().out)) - {"--help"}
        documented = set(re.findall(r"`(--[a-z-]+)`", section(COMMANDS_PAGE, "start-pipeline")))
        assert documented == printed

    def test_no_section_describes_a_command_that_is_gone(self) -> None:
        sections = re.findall(r"^### (.+)$", COMMANDS_PAGE.read_text(), re.MULTILINE)

        assert sorted(sections) == sorted([*documented_commands(), *CONSOLE_SCRIPTS])

    def test_the_exit_codes_of_runingest_are_those_of_the_pipeline(self) -> None:
        rows = re.findall(r"^\| (\d) \| (\w+)", section(COMMANDS_PAGE, "runingest"), re.MULTILINE)

        expected = {str(code): status.value for status, code in EXIT_CODES.items()}
        assert dict(rows) == {**expected, str(LOCKED_EXIT_CODE): "another"}


class TestConfigurationPage:
    def test_every_variable_of_the_example_is_explained_with_its_default(self) -> None:
        rows = dict(
            re.findall(r"^\| `([A-Z_]+)`.*? \| (.*?) \|", CONFIGURATION_PAGE.read_text(), re.MULTILINE)
        )
        example = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))

        wrong = [
            name for name, default in example.items()
            if name not in rows or (default and rows[name] != f"`{default}`")
        ]  # fmt: skip

        assert wrong == []

    def test_every_variable_that_the_settings_read_is_explained(self) -> None:
        read = re.findall(r"\benv\.\w+\(\s*\"([A-Z_]+)\"", (ROOT / "moovitamix" / "settings.py").read_text())
        text = CONFIGURATION_PAGE.read_text()

        assert len(read) > 30
        assert [name for name in read if f"`{name}`" not in text] == []

    def test_every_variable_of_the_page_is_read_somewhere(self) -> None:
        named = re.findall(
            r"`([A-Z_]{4,})`",
            "\n".join(re.findall(r"^\| `.*$", CONFIGURATION_PAGE.read_text(), re.MULTILINE)),
        )

        assert set(named) - known_variables() - constants() == set()


class TestIncidents:
    def test_every_kind_has_a_first_step(self) -> None:
        named = re.findall(r"^\| `(\w+)` \| \S", section(OPERATING_PAGE, FIRST_STEPS), re.MULTILINE)

        assert sorted(named) == sorted(message_templates())

    def test_every_kind_has_a_test_that_opens_and_resolves_it(self) -> None:
        """The row names the test, whose file names the kind."""
        rows = re.findall(
            r"^\| .*? \| (.*?) \|.*\| `(test_\w+\.py)::test_\w+` \|$",
            section(OPERATING_PAGE, ALERTS_TABLE), re.MULTILINE,
        )  # fmt: skip
        kinds = {(kind, file) for cell, file in rows for kind in re.findall(r"`(\w+)(?::\w+)?`", cell)}
        texts = {file: next(ROOT.glob(f"tests/**/{file}")) for _, file in kinds}

        tested = {kind for kind, file in kinds if kind in texts[file].read_text()}
        assert set(message_templates()) - tested == set()


class TestCodeBlocks:
    @pytest.mark.parametrize("document", [d for d in DOCUMENTS if d.name == "concepts.md"], ids=name_of)
    def test_python_examples_print_what_they_say(
        self, document: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        blocks = code_blocks(document, "python")

        for number, block in enumerate(blocks):
            script = tmp_path / f"block_{number}.py"
            script.write_text(block)
            runpy.run_path(str(script))

        expected = [
            line.split("  # ")[1] for block in blocks for line in block.splitlines() if "  # " in line
        ]
        assert capsys.readouterr().out.splitlines() == expected


@cache
def options_of(command: str) -> frozenset[str]:
    """The options and arguments of a command, beyond those that every command has."""
    parser: CommandParser = load_command_class(get_commands()[command], command).create_parser(
        "manage.py", command
    )
    common = {"--help", "--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color",
              "--force-color", "--skip-checks"}  # fmt: skip
    names = set()
    for action in parser._actions:
        # Not shown, not explained: for the product's own processes.
        if action.help == "==SUPPRESS==":
            continue
        longest = max(action.option_strings, key=len) if action.option_strings else action.dest
        if longest not in common:
            names.add(longest)
    return frozenset(names)


def documented_commands() -> list[str]:
    """Every command but former names, which do the same as their successor."""
    classes = {name: type(load_command_class(get_commands()[name], name)) for name in OUR_COMMANDS}
    successors = set(classes.values())
    return [
        name for name, made in classes.items() if not any(base in successors for base in made.__mro__[1:])
    ]


@cache
def existing_tests() -> frozenset[tuple[str, str]]:
    return frozenset(
        (path.name, name)
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text())
    )


@cache
def names_defined_in(file: str) -> frozenset[str]:
    """Functions, classes, methods and constants of a file; methods as `Class.method`."""
    return frozenset(_defined(ast.parse((ROOT / file).read_text()).body, ""))


def _defined(body: list[ast.stmt], prefix: str) -> list[str]:
    names = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            names += _defined(node.body, f"{prefix}{node.name}.")
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [prefix + target.id for target in targets if isinstance(target, ast.Name)]
    return names


@cache
def known_variables() -> frozenset[str]:
    """Variables of the environment that some part of the project reads."""
    example = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    quoted = [
        name
        for folder in ("moovitamix", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if path != Path(__file__)
        for name in re.findall(r"\"([A-Z][A-Z_]{3,})\"", path.read_text())
    ]
    return frozenset([*example, *quoted])


@cache
def constants() -> frozenset[str]:
    """Constants of modules, which the docs name beside their file."""
    return frozenset(
        name
        for folder in ("benchmarks", "ingestion", "moovitamix", "recommender", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"^([A-Z][A-Z0-9_]+)(?:: [^=]+)? = ", path.read_text(), re.MULTILINE)
    )
