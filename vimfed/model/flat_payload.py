"""The specification's flat payload of an instance."""

from typing import Annotated

from msgspec import Meta, Raw, Struct

NULL, EMPTY, ZERO, OBJECT = Raw(b"null"), Raw(b'""'), Raw(b"0"), Raw(b"{}")

MAX_TEXT = 255
"""Maximum characters of a text: what nova's database holds of names, hosts and ids."""

Text = Annotated[str, Meta(max_length=MAX_TEXT)] | None
Gigabytes = Annotated[int, Meta(ge=0, le=2**53)] | Annotated[float, Meta(ge=0)] | None


class FlatPayload(Struct, gc=False):
    """The specification's payload: all of its fields, absent ones as its empty values.

    What decides is typed; the rest is JSON text that is only passed on.
    """

    state_description: Text = ""
    availability_zone: Raw = NULL
    terminated_at: Text = ""
    ephemeral_gb: Gigabytes = 0
    instance_type_id: Raw = NULL
    deleted_at: Text = ""
    reservation_id: Raw = EMPTY
    memory_mb: Raw = ZERO
    display_name: Text = ""
    hostname: Raw = EMPTY
    state: Text = ""
    progress: Raw = EMPTY
    launched_at: Text = ""
    metadata: Raw = OBJECT
    node: Raw = NULL
    ramdisk_id: Raw = EMPTY
    access_ip_v6: Raw = NULL
    disk_gb: Gigabytes = 0
    access_ip_v4: Raw = NULL
    kernel_id: Raw = EMPTY
    host: Text = None
    user_id: Raw = EMPTY
    image_ref_url: Text = ""
    cell_name: Raw = EMPTY
    root_gb: Gigabytes = 0
    tenant_id: Text = ""
    created_at: Text = ""
    instance_id: str = ""
    instance_type: Raw = EMPTY
    vcpus: Raw = ZERO
    image_meta: Raw = OBJECT
    architecture: Raw = NULL
    os_type: Raw = NULL
    instance_flavor_id: Raw = EMPTY
