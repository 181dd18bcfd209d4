"""The tables come up and go down on both databases, and are those that the program has."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from everhart.service.database import Database, migrate
from everhart.service.migrations import HEAD
from everhart.service.migrations.run import scripts
from everhart.service.settings import Settings
from everhart.service.tables import Base, Token, now


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request, tmp_path) -> Settings:
    if request.param == "sqlite":
        return Settings(folder=tmp_path)
    url = request.getfixturevalue("postgresql")("migrated")
    return Settings(folder=tmp_path, database=url)


def test_up_down_and_up_again(settings: Settings):
    migrate(settings)
    database = Database(settings)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    migrate(settings, "base")
    assert set(inspect(database.engine).get_table_names()) == {"alembic_version"}
    migrate(settings)
    migrate(settings)  # of no effect
    assert set(Base.metadata.tables) < set(inspect(database.engine).get_table_names())
    moment = now()
    with database.writing() as session:
        session.add(Token(id="a", name="a", secret_sha256="0" * 64, scopes=["read"],
                          created_at=moment))  # fmt: skip
    with database.reading() as session:
        token = session.get(Token, "a")
        assert token is not None
        assert token.created_at == moment
    database.close()


def test_the_known_head_is_the_last_script():
    assert scripts().get_current_head() == HEAD
