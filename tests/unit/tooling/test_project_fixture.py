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
