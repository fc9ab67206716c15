"""Projects, which nova calls tenants, by their ids."""

import re

_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_project_id(text: str) -> bool:
    """Return whether it is a project's id as Keystone makes them: 32 hex digits, or a UUID.

    Nothing else becomes a part of a topic's name, whatever a cloud, or a plug-in, tells.
    """
    return _ID.fullmatch(text) is not None
