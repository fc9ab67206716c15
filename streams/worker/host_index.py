"""In memory: the hosts of each cloud, for the partitions that a worker owns.

Every partition has all hosts; one of them, that of the host's key, counts where each is told once.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

import msgspec

from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import cloud_key, host_key
from vimfed.model.records import CloudState, Recorded

Condition = Literal["up", "down", "forced_down"]
HostCondition = Literal["up", "down", "forced_down", "unknown"]
"""How a host is; ``unknown`` while its cloud, or its cell of it, does not tell."""


class HostEntry(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One host as a query sees it; times are spelled like those of HostState."""

    host: str
    told: Condition
    """What was last told of it."""
    down_since: str = ""
    disabled: bool = False
    disabled_reason: str = ""
    disabled_since: str = ""
    unknown_since: str = ""
    """Since when nova itself does not know how it is; empty: it does."""


class CloudNews(NamedTuple):
    """What is known of a cloud's hosts."""

    hosts: Mapping[str, HostEntry]
    """By name; empty where nobody tells of any."""
    unknown_since: str
    """Since when the cloud does not tell how they are; empty: it tells."""


class _Row(Recorded, frozen=True, gc=False, kw_only=True):
    """As much of an encoded HostState as the index holds."""

    vim_id: str
    host: str
    is_up: bool = True
    forced_down: bool = False
    disabled: bool = False
    disabled_reason: str = ""
    down_since: str = ""
    disabled_since: str = ""
    unknown_since: str = ""


class _Cloud:
    """What one partition knows of a cloud's hosts."""

    def __init__(self) -> None:
        self.hosts: dict[str, HostEntry] = {}
        self.at_home: dict[str, HostEntry] = {}
        """Those whose own partition this is."""
        self.down: set[str] = set()
        """Names of those that are down, by force or not."""
        self.unknown_since = ""


_decode_row = msgspec.json.Decoder(_Row).decode
_decode_cloud = msgspec.json.Decoder(CloudState).decode
_NOBODY = CloudNews({}, "")


class HostIndex:
    """The hosts in all partitions that this worker owns, of ``partitions`` that there are."""

    def __init__(self, partitions: int) -> None:
        self._count = partitions
        self._partitions: dict[int, dict[str, _Cloud]] = {}

    def add_partition(self, partition: int) -> None:
        """Begin to index a partition that becomes ours."""
        self._partitions[partition] = {}

    def drop_partition(self, partition: int) -> None:
        """Forget a partition that is no longer ours."""
        self._partitions.pop(partition, None)

    def put_host(self, partition: int, row: bytes) -> None:
        """Index an encoded HostState that was written."""
        state = _decode_row(row)
        told: Condition = "up" if state.is_up else "down"
        entry = HostEntry(
            host=state.host,
            told="forced_down" if state.forced_down else told,
            down_since=state.down_since,
            disabled=state.disabled,
            disabled_reason=state.disabled_reason,
            disabled_since=state.disabled_since,
            unknown_since=state.unknown_since,
        )
        cloud = self._cloud(partition, state.vim_id)
        # The hash takes some microseconds: it is asked for once.
        is_new = state.host not in cloud.hosts
        cloud.hosts[state.host] = entry
        if entry.told == "up":
            cloud.down.discard(state.host)
        else:
            cloud.down.add(state.host)
        if state.host in cloud.at_home or (is_new and self._is_home(partition, state)):
            cloud.at_home[state.host] = entry

    def _is_home(self, partition: int, state: _Row) -> bool:
        return partition_of(host_key(state.vim_id, state.host), self._count) == partition

    def remove_host(self, partition: int, vim_id: str, host: str) -> None:
        """Forget a host whose row was deleted."""
        cloud = self._cloud(partition, vim_id)
        cloud.hosts.pop(host, None)
        cloud.at_home.pop(host, None)
        cloud.down.discard(host)

    def put_cloud(self, partition: int, row: bytes) -> None:
        """Index an encoded CloudState that was written."""
        state = _decode_cloud(row)
        self._cloud(partition, state.vim_id).unknown_since = state.hosts_unknown_since

    def remove_cloud(self, partition: int, vim_id: str) -> None:
        """Forget a cloud whose row was deleted."""
        self._cloud(partition, vim_id).unknown_since = ""

    def _cloud(self, partition: int, vim_id: str) -> _Cloud:
        clouds = self._partitions[partition]
        cloud = clouds.get(vim_id)
        if cloud is None:
            cloud = clouds[vim_id] = _Cloud()
        return cloud

    def news(self, partition: int, vim_id: str) -> CloudNews:
        """Return what a partition knows of a cloud's hosts."""
        cloud = self._partitions.get(partition, {}).get(vim_id)
        return _NOBODY if cloud is None else CloudNews(cloud.hosts, cloud.unknown_since)

    def all_news(self, vim_id: str) -> CloudNews:
        """Return what our partitions know of a cloud's hosts: unknown where it is in one."""
        told = [self.news(partition, vim_id) for partition in self._partitions]
        hosts = max((news.hosts for news in told), key=len, default=_NOBODY.hosts)
        return CloudNews(hosts, max((news.unknown_since for news in told), default=""))

    def down(self, partition: int, vim_id: str) -> Collection[str]:
        """Return the names of a cloud's hosts that are down, as a partition of ours knows them."""
        cloud = self._partitions[partition].get(vim_id)
        return () if cloud is None else cloud.down

    def at_home(self, vim_id: str) -> list[HostEntry]:
        """Return the hosts of a cloud whose own partitions are among ours."""
        held = [clouds[vim_id] for clouds in self._partitions.values() if vim_id in clouds]
        return [entry for cloud in held for entry in cloud.at_home.values()]

    def unknown_since(self, vim_id: str) -> str | None:
        """Return since when a cloud does not tell (empty: it does); None: another worker knows."""
        home = partition_of(cloud_key(vim_id), self._count)
        return self.news(home, vim_id).unknown_since if home in self._partitions else None

    def counts(self) -> dict[str, dict[str, int]]:
        """Return for each cloud how many hosts, of those at home here, are how."""
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for clouds in list(self._partitions.values()):
            for vim_id, cloud in list(clouds.items()):
                counts[vim_id].update(
                    "unknown" if cloud.unknown_since or entry.unknown_since else entry.told
                    for entry in list(cloud.at_home.values())
                )
        return {vim_id: dict(each) for vim_id, each in counts.items()}
