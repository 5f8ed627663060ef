"""Secrets go, everything else stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.text.redact import MARK, Redactor

ENV = {
    "ANTHROPIC_API_KEY": "plain-looking-value",
    "DB_PASSWORD": "hunter2hunter2",
    "SHORT_TOKEN": "abc",
    "SSH_AUTH_SOCK": "/run/user/1000/ssh.sock",
    "GOOGLE_KEY_FILE": "/home/u/key.json",
    "EDITOR": "emacs-with-a-long-name",
}
SECRETS = [
    "sk-ant-api03-" + "a" * 40,
    "ghp_" + "b" * 36,
    "github_pat_" + "c" * 40,
    "glpat-" + "d" * 20,
    "xoxb-123456789012-abcdef",
    "AKIAIOSFODNN7EXAMPLE",
    "AIza" + "e" * 35,
    "npm_" + "f" * 36,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dBjftJeZ4CVPmB92K27uhbUJU1p1r",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----",
    "plain-looking-value",
    "hunter2hunter2",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_goes_and_its_surroundings_stay(secret: str) -> None:
    redactor = Redactor(ENV)
    assert redactor.text(f"before {secret} after") == f"before {MARK} after"
    assert redactor.data({"k": [secret, {secret: 1}]}) == {"k": [MARK, {MARK: 1}]}


def test_a_password_in_a_url() -> None:
    assert Redactor({}).text("https://me:pw@host/x") == f"https://{MARK}@host/x"


HARMLESS = [
    "abc",
    "/run/user/1000/ssh.sock",
    "/home/u/key.json",
    "emacs-with-a-long-name",
    "task-1 risk-averse sk-short",
    "https://host/a:b@c",
    "sha256:" + "0" * 64,
    "def key(token): return secrets",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor(ENV).text(text) == text


@given(st.text(), st.sampled_from(SECRETS), st.text())
def test_no_surroundings_hide_a_secret(before: str, secret: str, after: str) -> None:
    assert secret not in Redactor(ENV).text(f"{before} {secret} {after}")


TEXTS = st.text() | st.sampled_from(
    [*SECRETS, "sk-", "-----BEGIN A PRIVATE KEY-----", "://a", "b@c", "AKIA" + "A" * 16]
)


@given(
    st.recursive(
        TEXTS | st.integers() | st.none(),
        lambda part: st.lists(part) | st.tuples(part) | st.dictionaries(TEXTS, part),
    )
)
def test_data_is_its_texts_each_for_itself(value: object) -> None:
    redactor = Redactor(ENV)

    def each(value: object) -> object:
        if isinstance(value, str):
            return redactor.text(value)
        if isinstance(value, dict):
            return {redactor.text(key): each(item) for key, item in value.items()}
        return [each(item) for item in value] if isinstance(value, list | tuple) else value

    assert redactor.data(value) == each(value)


@given(st.text())
def test_twice_is_once(text: str) -> None:
    redactor = Redactor(ENV)
    assert redactor.text(redactor.text(text)) == redactor.text(text)
