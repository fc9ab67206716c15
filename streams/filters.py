"""Which events a subscription wants. Decides, and does nothing."""

from vimfed.records import VmEvent
from vimfed.settings import FilterSettings


def wants(subscription: FilterSettings, event: VmEvent, tenant_id: str) -> bool:
    """Return whether ``subscription`` wants ``event``, of an instance of ``tenant_id``.

    An empty list wants everything.
    """
    return (
        (not subscription.kinds or event.kind in subscription.kinds)
        and (not subscription.phases or event.phase in subscription.phases)
        and (not subscription.tenants or tenant_id in subscription.tenants)
    )
