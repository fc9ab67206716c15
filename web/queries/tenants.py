"""Whose an instance is, for those who may not see all tenants. Decides, and does nothing."""

from collections.abc import Collection

import msgspec

from vimfed.model.records import InstanceState

Tenants = tuple[str, ...] | None
"""The tenants whose instances are shown; None: all, instances whose tenant is unknown too."""


class _Payload(msgspec.Struct, gc=False):
    tenant_id: str | None = None


_decode_payload = msgspec.json.Decoder(_Payload).decode


def is_shown(row: InstanceState, tenants: Collection[str] | None) -> bool:
    """Return whether an instance is shown to who may see ``tenants``."""
    return tenants is None or is_tenant_shown(_decode_payload(row.payload).tenant_id, tenants)


def is_tenant_shown(tenant_id: str | None, tenants: Collection[str] | None) -> bool:
    """Return whether a tenant's instances, or those without one, are shown to who may see these."""
    return tenants is None or (tenant_id or "") in tenants
