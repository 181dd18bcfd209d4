"""Every route refuses a token that is missing, wrong, expired, revoked or too weak."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from everhart.cli import main
from everhart.errors import UsageError
from everhart.service.access import WrongTokens
from everhart.service.database import Database, migrate
from everhart.service.settings import Settings
from everhart.service.tables import Token, now
from everhart.service.tokens import SCOPES, create_token, list_tokens, revoke_token

from .served import Server, serving, tiff

MOST_WRONG = 250
OPEN = {"/health", "/ready"}


@pytest.fixture(scope="module")
def guarded(tokens: dict[str, str], folder: Path) -> Iterator[Server]:
    with serving(folder, tokens="true", wrong_tokens_per_minute=MOST_WRONG) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="module")
def tokens(folder: Path) -> dict[str, str]:
    migrate(Settings(folder=folder))
    database = Database(Settings(folder=folder))
    made = {scope: create_token(database, scope, [scope], None)[1] for scope in SCOPES}
    made["wrong"] = made["admin"][:-1] + ("a" if made["admin"][-1] != "a" else "b")
    made["unknown"] = "eh_000000000000_" + "a" * 43
    made["no token"] = "password"
    token, made["expired"] = create_token(database, "old", ["admin"], timedelta(hours=1))
    with database.writing() as session:
        early = now() - timedelta(seconds=1)
        session.execute(update(Token).where(Token.id == token.id).values(expires_at=early))
    token, made["revoked"] = create_token(database, "gone", ["admin"], None)
    revoke_token(database, token.id)
    database.close()
    return made


def routes(http: httpx.Client) -> list[tuple[str, str]]:
    paths = http.get("/openapi.json").json()["paths"]
    return [
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if path not in OPEN
    ]


def ask(http: httpx.Client, method: str, path: str, token: str | None) -> httpx.Response:
    filled = path
    for name in ("image_id", "sha256"):
        filled = filled.replace(f"{{{name}}}", "0" * 64)
    filled = filled.replace("{job_id}", "0" * 32).replace("{result_id}", "0" * 32)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return http.request(method, filled, headers=headers)


def test_every_route_asks_for_a_good_token(guarded: Server, tokens: dict[str, str]):
    found = routes(guarded.http)
    assert ("POST", "/v1/images") in found
    for method, path in found:
        for bad in (None, "wrong", "unknown", "no token", "expired", "revoked"):
            answer = ask(guarded.http, method, path, tokens[bad] if bad else None)
            assert answer.status_code == 401, (method, path, bad, answer.text)
            assert answer.headers["www-authenticate"] == "Bearer"


def test_every_route_asks_for_its_scope(guarded: Server, tokens: dict[str, str]):
    for method, path in routes(guarded.http):
        needed = {"GET": "read", "POST": "run", "DELETE": "admin"}[method]
        if (method, path) == ("POST", "/v1/models"):  # a model is everybody's
            needed = "admin"
        for scope in SCOPES:
            status = ask(guarded.http, method, path, tokens[scope]).status_code
            is_enough = SCOPES.index(scope) >= SCOPES.index(needed)
            assert (status != 403) == is_enough, (method, path, scope, status)
            assert status != 401


def test_a_token_works_until_it_is_revoked(guarded: Server, capsys):
    folder = ["--folder", str(guarded.folder)]
    assert main(["token", "create", "one", "--scope", "run", "--expires", "12h", *folder]) == 0
    text = capsys.readouterr().out.strip()
    headers = {"Authorization": f"Bearer {text}"}
    upload = guarded.http.post("/v1/images?name=a.tif", content=tiff(50), headers=headers)
    assert upload.status_code == 201
    assert main(["token", "list", *folder]) == 0
    shown = capsys.readouterr().out
    assert text.split("_")[2] not in shown
    assert main(["token", "revoke", text.split("_")[1], *folder]) == 0
    assert guarded.http.get("/v1/images", headers=headers).status_code == 401
    assert main(["token", "revoke", "nobody", *folder]) == 2
    assert main(["token", "create", "x", "--expires", "soon", *folder]) == 2


def test_no_secret_is_kept(guarded: Server, tokens: dict[str, str]):
    secret = tokens["admin"].split("_", 2)[2].encode()
    for path in guarded.folder.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes()
    assert not any(secret.decode() in line for line in guarded.lines)


def test_addresses_are_counted_apart_and_forgotten(monkeypatch):
    clock = 0.0
    monkeypatch.setattr("everhart.service.access.time.monotonic", lambda: clock)
    wrong = WrongTokens(2)
    assert [wrong.add("a"), wrong.add("a"), wrong.add("a"), wrong.add("b")] == [
        False, False, True, False,
    ]  # fmt: skip
    clock = 61.0
    assert not wrong.add("a")


@pytest.mark.parametrize(
    ("name", "scopes", "lifetime", "said"),
    [
        ("x", ["red"], None, "did you mean 'read'"),
        ("x", [], None, "No scope"),
        ("  ", ["read"], None, "needs a name"),
        ("x", ["read"], timedelta(0), "expired already"),
    ],
)
def test_wrong_calls(guarded: Server, name, scopes, lifetime, said):
    database = Database(Settings(folder=guarded.folder))
    before = len(list_tokens(database))
    with pytest.raises(UsageError, match=said):
        create_token(database, name, scopes, lifetime)
    assert len(list_tokens(database)) == before
    database.close()


def test_wrong_tokens_are_slowed_and_right_ones_are_not(guarded: Server, tokens: dict[str, str]):
    """The last of those that send wrong tokens: from here on they are answered 429."""
    for _ in range(MOST_WRONG + 1):
        answer = ask(guarded.http, "GET", "/v1/images", "password")
        if answer.status_code == 429:
            break
        assert answer.status_code == 401
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "60"
    assert ask(guarded.http, "GET", "/v1/images", tokens["read"]).status_code == 200
