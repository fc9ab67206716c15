"""What a subscription wants, and which subscriptions hold when. Decides, and does nothing.

A subscription holds from ``HOLDS_AFTER`` seconds after Kafka has taken it: until then every
publisher has heard of it. An event, or a measurement, is matched against what held at its own Kafka
timestamp, so one that is processed again, however much later, is decided alike.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from vimfed.model.records import Phase
from vimfed.settings import FilterSettings, Format, KafkaSettings

DEFAULT = "default"
"""Name of the subscription that the settings' filter is."""
HOLDS_AFTER = 1.0
"""Seconds from Kafka's taking a change to the first event that is matched against it."""
MAX_SUBSCRIPTIONS = 1000
"""So many subscriptions there may be, the default one among them."""


Heeds = Callable[[str, str, "Subscription"], bool]
"""Whether an output heeds a subscription: of its name, the subscription's, and that."""


def events_kept(kafka: KafkaSettings) -> float:
    """Return the seconds for which an event or a measurement may still be read.

    A broker removes it some hours after its time.
    """
    return kafka.retention.longest_matched + 86400.0


EVENTS_KEPT = events_kept(KafkaSettings())
"""By default."""


class Subscription(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one subscriber wants; an empty list wants everything.

    Without an output it holds for every output. ``format`` overrides the output's own. ``kinds``
    and ``phases`` are of events: with one of them it wants no measurements.
    """

    clouds: tuple[str, ...] = ()
    """vim_ids."""
    kinds: tuple[str, ...] = ()
    phases: tuple[Phase, ...] = ()
    tenants: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    meters: tuple[str, ...] = ()
    """What a measurement keeps of its values."""
    output: str = ""
    format: Format | None = None


class About(Protocol):
    """What a subscription looks at in an event or a measurement."""

    @property
    def vim_id(self) -> str:
        """Its cloud."""

    @property
    def instance_id(self) -> str:
        """Its instance."""


class Told(About, Protocol):
    """What a subscription looks at in an event."""

    @property
    def kind(self) -> str:
        """What happened."""

    @property
    def phase(self) -> Phase:
        """Whether it starts, has ended or failed."""


class Matcher:
    """A subscription, ready to be asked often."""

    def __init__(self, subscription: Subscription) -> None:
        self.format = subscription.format
        # None wants everything; so an empty list costs no look-up.
        self._clouds = frozenset(subscription.clouds) or None
        self.kinds = frozenset(subscription.kinds) or None
        self._phases: frozenset[str] | None = frozenset(subscription.phases) or None
        self._tenants = frozenset(subscription.tenants) or None
        self._instances = frozenset(subscription.instances) or None
        self.meters = frozenset(subscription.meters) or None
        """Of the values that it wants; None: of all."""

    def wants(self, event: Told, tenant_id: str) -> bool:
        """Return whether the subscription wants ``event``, of an instance of ``tenant_id``.

        What is about a host or a cloud is no tenant's.
        """
        return (
            (self.kinds is None or event.kind in self.kinds)
            and (self._phases is None or event.phase in self._phases)
            and self._covers(event, tenant_id)
        )

    def wants_measurement(self, measurement: About, tenant_id: str) -> bool:
        """Return whether it wants those values of a measurement that ``meters`` names."""
        return self.kinds is None and self._phases is None and self._covers(measurement, tenant_id)

    def _covers(self, about: About, tenant_id: str) -> bool:
        return (
            (self._clouds is None or about.vim_id in self._clouds)
            and (self._tenants is None or (tenant_id in self._tenants and about.instance_id != ""))
            and (self._instances is None or about.instance_id in self._instances)
        )


def default_subscription(settings: FilterSettings) -> Subscription | None:
    """Return the settings' filter as a subscription; None where it is switched off."""
    if not settings.enabled:
        return None
    return Subscription(
        clouds=tuple(settings.clouds),
        kinds=tuple(settings.kinds),
        phases=tuple(settings.phases),
        tenants=tuple(settings.tenants),
        meters=tuple(settings.meters),
        output=settings.output,
    )


def heeds_all(output: str, _name: str, subscription: Subscription) -> bool:
    """Heed what names the output, or none."""
    return subscription.output in ("", output)


class SubscriptionHistory:
    """What each subscription was like when, as told by the subscriptions topic.

    The default subscription holds always. Changes are added in the order in which they were made.
    Those that no event can meet any more are forgotten but for what is left of them.
    """

    def __init__(
        self,
        default: Subscription | None,
        kept: float = EVENTS_KEPT,
        heeds: Heeds = heeds_all,
    ) -> None:
        """``kept``: seconds before the newest change for which an event may ask what held.

        0 where nobody asks but for what holds now. ``heeds`` says which ones hold for an output.
        """
        self._heeds = heeds
        self._kept = int(kept * 1000)
        self._current = {} if default is None else {DEFAULT: default}
        self._base = dict(self._current)
        """What held before the changes that are kept."""
        self._holds_from: list[int] = []
        """When each change begins to hold, in ms since 1970; never falls."""
        self._changes: list[tuple[str, Subscription | None]] = []
        self._matchers: dict[tuple[str, int], Sequence[Matcher]] = {}
        """By output and number of changes that hold."""

    def add(self, name: str, subscription: Subscription | None, timestamp: int) -> None:
        """Note that Kafka took ``subscription`` (None: its deletion) at ``timestamp``, in ms.

        One too many is passed over: whoever reads the topic decides so alike, however many writers
        there were at once. So is what changes nothing: a client may write the same again and again.
        """
        if subscription == self._current.get(name):
            return
        if subscription is None:
            self._current.pop(name, None)
        elif name in self._current or len(self._current) < MAX_SUBSCRIPTIONS:
            self._current[name] = subscription
        else:
            return
        holds_from = timestamp + int(HOLDS_AFTER * 1000)
        # Kafka's clock may step back when another broker takes the lead; a change does not.
        self._holds_from.append(max(holds_from, *self._holds_from[-1:], 0))
        self._changes.append((name, subscription))
        self._forget()

    def _forget(self) -> None:
        """Forget changes that are too old, once they are half of all: each is moved once or so."""
        old = bisect_right(self._holds_from, self._holds_from[-1] - self._kept)
        if 2 * old >= len(self._changes):
            _apply(self._changes[:old], self._base)
            del self._changes[:old], self._holds_from[:old]
            self._matchers.clear()

    def current(self) -> Mapping[str, Subscription]:
        """Return by name the subscriptions as last told, held back or not, the default first."""
        return self._current

    def matchers(self, output: str, timestamp: int) -> Sequence[Matcher]:
        """Return those that hold for ``output`` and an event of ``timestamp`` (ms), by name."""
        count = bisect_right(self._holds_from, timestamp)
        matchers = self._matchers.get((output, count))
        if matchers is None:
            if len(self._matchers) > 100:  # a replay over many changes
                self._matchers.clear()
            matchers = self._matchers[output, count] = [
                Matcher(subscription)
                for name, subscription in sorted(self._after(count).items())
                if self._heeds(output, name, subscription)
            ]
        return matchers

    def _after(self, count: int) -> dict[str, Subscription]:
        held = dict(self._base)
        _apply(self._changes[:count], held)
        return held


def _apply(
    changes: Sequence[tuple[str, Subscription | None]], held: dict[str, Subscription]
) -> None:
    """Make changes, in their order, to what holds."""
    for name, subscription in changes:
        if subscription is None:
            held.pop(name, None)
        else:
            held[name] = subscription
