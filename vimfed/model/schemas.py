"""The names of the published JSON Schemas, and what a CloudEvent's ``dataschema`` calls them.

They lie in docs/schemas, and every worker serves them under ``/schemas/``. An identifier is a URN:
it is the same wherever the job runs, and nobody is asked for it. Its last part is the schema's
version, which grows when what was valid by the one before is valid no longer.
"""

from typing import Literal

SchemaName = Literal[
    "payload",
    "host-cloud",
    "cloudevents",
    "measurement",
    "measurement-cloudevents",
    "ves",
    "ves-5",
]


def schema_id(name: SchemaName) -> str:
    """Return the URN of a published schema, its ``$id``."""
    return f"urn:vim-event-federation:schema:{name}:1"
