"""The installations that tests run commands on."""

import pytest

from tests.support.project import Project

ASK = "from django.db import connection as c; print(c.vendor, c.settings_dict['NAME'])"


@pytest.mark.slow
def test_a_sqlite_project_is_migrated_and_stands_in_its_own_folder(sqlite_project: Project) -> None:
    asked = sqlite_project.shell(ASK)

    assert asked == f"sqlite {sqlite_project.folder}/music_data.db"
    assert sqlite_project.manage("migrate", "--check").returncode == 0


@pytest.mark.slow
def test_a_postgres_project_is_migrated_and_has_its_own_database(postgres_project: Project) -> None:
    asked = postgres_project.shell(ASK)

    assert asked.startswith("postgresql moovitamix_project_")
    assert postgres_project.manage("migrate", "--check").returncode == 0


def test_a_command_that_fails_fails_the_test_with_what_it_said(sqlite_project: Project) -> None:
    with pytest.raises(AssertionError, match="Unknown command: 'nothing'"):
        sqlite_project.manage("nothing")


def test_each_environment_of_an_installation_has_its_own_settings(sqlite_project: Project) -> None:
    ask = ("shell", "--no-imports", "-c", "from django.conf import settings; print(settings.SCHEDULED_TIME)")

    found = [
        sqlite_project.manage(*ask).stdout.strip(),
        sqlite_project.manage(*ask, SCHEDULED_TIME="04:30").stdout.strip(),
        sqlite_project.manage(*ask).stdout.strip(),
    ]
    wrong = sqlite_project.manage("check", check=False, SCHEDULED_TIME="25:00")

    assert found == ["02:00:00", "04:30:00", "02:00:00"]
    assert "SCHEDULED_TIME='25:00' can't be read" in wrong.stderr
    # Of the three environments Django can be set up in two.
    assert [server is not None for server in sqlite_project.prepared.values()] == [True, True, False]
