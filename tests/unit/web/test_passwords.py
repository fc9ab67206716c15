"""Passwords as hashes that say what they cost."""

import base64
import hashlib
import logging
from collections import Counter
from typing import Any

import pytest

from vimfed.cli.own_login import login_headers
from vimfed.settings import Secret, SettingsError, WebAuthSettings, WebSettings, WebUser
from web.auth import passwords
from web.auth.backends.password import PasswordLogin
from web.auth.passwords import Cost

CHEAP = Cost(4, 8, 1)
OLD = (
    "scrypt$AAECAwQFBgcICQoLDA0ODw=="
    "$UDPF-c6UAbOfYLbXfh5BLsQrn-UidWRbQyyDP5iuTDhKjguAgifZUwFF48KIdnKJ70y1nTNu8O1gGj8go9gwUg=="
)
"""Of "pässword", as release 0.1.0 wrote it."""
FOREIGN = "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"
"""Of "password", from passlib's documentation."""


def user(name: str, password: str) -> WebUser:
    return WebUser(name=name, password=Secret(password))


def test_a_password_is_compared_with_itself_or_with_its_hash() -> None:
    hashed = passwords.hash_password("pässword", CHEAP)
    assert passwords.is_hash(hashed)
    assert hashed != passwords.hash_password("pässword", CHEAP)
    for password in (hashed, OLD, "pässword"):
        assert passwords.matches("pässword", password)
        for wrong in ("", "password", hashed, OLD):
            assert passwords.matches(wrong, password) == (wrong == password == "pässword")


def test_a_hash_carries_its_cost_which_is_todays() -> None:
    hashed = passwords.hash_password("x")
    assert hashed.startswith("$scrypt$ln=17,r=8,p=1$")
    assert passwords.matches("x", hashed)
    assert not passwords.matches("y", hashed)
    kept = passwords.hash_in(hashed)
    assert kept is not None
    assert (kept.cost, len(kept.salt), len(kept.digest)) == (Cost(17, 8, 1), 16, 32)


def test_a_hash_of_another_program_in_the_same_form_is_read() -> None:
    assert passwords.matches("password", FOREIGN)
    assert not passwords.matches("passwords", FOREIGN)


@pytest.mark.parametrize(
    "password",
    [
        "$scrypt$ln=40,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
        "$scrypt$ln=16,r=8,p=0$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
        "$scrypt$ln=14,r=99,p=99$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
        FOREIGN[:60],
        "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0$aGFzaA",
        "$2b$12$abcdefghijklmnopqrstuv",
    ],
)
def test_what_looks_like_a_hash_and_cannot_be_checked_is_refused(password: str) -> None:
    """As a password it would let nobody in, and be one that stands in a settings file."""
    auth = WebAuthSettings(users=[user("u", password)])
    with pytest.raises(SettingsError, match=r"web\.auth\.users: u: its password ") as refusal:
        PasswordLogin(auth)
    assert password not in str(refusal.value)
    assert login_headers(WebSettings(auth=auth)) == {}


async def test_every_name_costs_the_same_whatever_its_hash_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spent: list[tuple[int, int, int]] = []
    scrypt = hashlib.scrypt

    def counted(*args: Any, **options: Any) -> bytes:
        spent.append((options["n"], options["r"], options["p"]))
        return scrypt(*args, **options)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    with caplog.at_level(logging.WARNING):
        login = PasswordLogin(
            WebAuthSettings(
                users=[
                    user("old", OLD),
                    user("new", passwords.hash_password("pässword", CHEAP)),
                    user("plain", "pässword"),
                ]
            )
        )
    assert [record.args for record in caplog.records] == [("old",), ("new",)]
    for name in ("old", "new", "plain", "nobody"):
        for password in ("pässword", "wrong"):
            spent.clear()
            given = base64.b64encode(f"{name}:{password}".encode()).decode()
            caller = (await login.attempt(given, lambda _name: None)).caller
            assert (caller is not None) == (name != "nobody" and password != "wrong")
            assert Counter(spent) == Counter([(2**14, 8, 1), (2**4, 8, 1)]), name


async def test_passwords_that_are_no_hashes_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashlib, "scrypt", None)
    login = PasswordLogin(WebAuthSettings(users=[user("plain", "pässword")]))
    given = base64.b64encode("plain:pässword".encode()).decode()
    assert (await login.attempt(given, lambda _name: None)).caller is not None
