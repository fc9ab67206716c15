"""Commands in the audit trail: who runs one, and where its records go."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from socket import gethostname
from typing import NamedTuple

from vimfed.errors import OperatorError
from vimfed.process.audit import Event, Trail, Who
from vimfed.process.log import configure_audit, release_audit
from vimfed.settings import Settings


class CommandAudit(NamedTuple):
    """The trail of one command."""

    trail: Trail
    who: Who
    """The operating system's user, and this machine."""

    @contextmanager
    def recorded(self, event: Event, **details: str) -> Iterator[None]:
        """Record what the block does, whether it succeeds or raises OperatorError."""
        try:
            yield
        except OperatorError as error:
            self.trail.record(event, "failed", self.who, **details, reason=str(error))
            raise
        except BaseException:
            self.trail.record(event, "failed", self.who, **details, reason="broken off")
            raise
        self.trail.record(event, "done", self.who, **details)


@contextmanager
def audit_of_command(settings: Settings, name: str) -> Iterator[CommandAudit]:
    """Keep the trail of a command that changes something, while the block runs.

    Raises OperatorError where the audit file cannot be written: then nothing is changed.
    """
    configure_audit(settings.log, name, alone=True)
    try:
        yield CommandAudit(Trail(), Who(_user(), "operator", gethostname()))
    finally:
        release_audit()


def _user() -> str:
    """Return the name of who runs this; its number where it has none. No variable decides it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
