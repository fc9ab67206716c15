"""Real Keystone behind HTTP, on a database of its own in a file.

Run by the interpreter of Keystone's own environment (environment.py): ``server.py FOLDER prepare``
makes a database and keys in FOLDER, ``server.py FOLDER`` serves them. When it does, FOLDER/address
holds its URL. Its administrator is admin/secret, in the project admin of the domain Default, and of
the whole system.

POST of JSON to ``/control`` changes how long tokens hold that are given from then on:
``{"token_seconds": 2}``.
"""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keystone.server
from keystone.cmd.bootstrap import Bootstrapper
from keystone.common import fernet_utils
from keystone.common.sql import upgrades
from keystone.server.flask import core
from werkzeug.serving import WSGIRequestHandler, make_server

PASSWORD = "secret"

SETTINGS = """\
[database]
connection = sqlite:///{folder}/keystone.db
[fernet_tokens]
key_repository = {folder}/fernet
[fernet_receipts]
key_repository = {folder}/fernet
[cache]
# There is one process: what it changes it forgets.
enabled = true
backend = dogpile.cache.memory
[identity]
# Passwords need not withstand anybody here.
password_hash_rounds = 4
"""

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class Quiet(WSGIRequestHandler):
    """Logs no requests."""

    def log_request(self, *_args: object) -> None:
        """Log nothing."""


def settings_file(folder: Path) -> str:
    """Return the settings with which Keystone keeps what it has in a folder."""
    settings = folder / "keystone.conf"
    settings.write_text(SETTINGS.format(folder=folder))
    return str(settings)


def prepare(folder: Path) -> None:
    """Make the tables, the keys, the administrator and the usual roles."""
    folder.mkdir()
    keystone.server.configure(config_files=[settings_file(folder)])
    upgrades.offline_sync_database_to_version()
    keys = fernet_utils.FernetUtils(str(folder / "fernet"), 3, "fernet_tokens")
    keys.create_key_directory()
    keys.initialize_key_repository()
    bootstrapper = Bootstrapper()
    bootstrapper.admin_username = bootstrapper.project_name = "admin"
    bootstrapper.admin_role_name = "admin"
    bootstrapper.admin_password = PASSWORD
    bootstrapper.bootstrap()


def controlled(application: Any) -> Any:
    """Return an application that takes orders, too."""

    def serve(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/control":
            answer: Iterable[bytes] = application(environ, start_response)
            return answer
        order = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        core.CONF.set_override("expiration", order["token_seconds"], "token")
        start_response("204 No Content", [])
        return []

    return serve


def main(folder: Path) -> None:
    """Serve until the process is ended."""
    application = core.initialize_application("public", config_files=[settings_file(folder)])
    server = make_server(
        "127.0.0.1", 0, controlled(application), threaded=True, request_handler=Quiet
    )
    partial = folder / "address.partial"
    partial.write_text(f"http://127.0.0.1:{server.server_port}")
    partial.rename(folder / "address")
    server.serve_forever()


if __name__ == "__main__":
    given, *order = sys.argv[1:]
    del sys.argv[1:]  # Keystone would read them
    (prepare if order == ["prepare"] else main)(Path(given))
