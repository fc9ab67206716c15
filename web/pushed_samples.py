"""Samples of meters that a plug-in pushes: written into Kafka before they are answered.

They are taken for clouds whose settings say ``pushed`` in ``[vims.samples]``.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from aiohttp import web
from msgspec import Meta, Raw, Struct

from streams.core.metering import FUTURE
from streams.core.sample_bounds import MAX_VCPUS, fault_of
from vimfed.alerts.subject import Subject, is_host, is_instance_id
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.notification_writer import arrival_time
from vimfed.kafka.sample_records import MOST_SAMPLES, sample_records
from vimfed.model.decoding import UNREADABLE
from vimfed.model.samples import Sample
from vimfed.model.times import milliseconds, seconds_between
from web.http.errors import ApiError
from web.http.routes import Route, vim_id_in
from web.pushing import EntryError, Pushing, pushed_time

Name = Annotated[str, Meta(max_length=255)]


class PushedSample(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One value of one meter."""

    meter: Annotated[str, Meta(min_length=1, max_length=255)]
    """As ceilometer calls it, e.g. ``cpu``, ``memory.usage``, ``disk.device.read.bytes``."""
    volume: float
    """In ``unit``."""
    kind: Literal["gauge", "cumulative", "delta"] = "gauge"
    """A gauge stands for itself, a cumulative meter counts since some start, a delta is what came
    since the sample before."""
    unit: Name = ""
    """As ceilometer spells it, e.g. ``ns``, ``MiB``, ``B``."""
    device: Name = ""
    """The disk, port or device that it is about; empty: the instance or host itself."""
    timestamp: str | None = None
    """When it was so; by default that of the entry."""


class SubjectSamples(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples of one instance, or of one host."""

    samples: Annotated[list[PushedSample], Meta(min_length=1, max_length=MOST_SAMPLES)]
    instance_id: Name = ""
    host: Name = ""
    """As nova calls it; of what is about a host itself."""
    timestamp: str | None = None
    """When they were so (ISO 8601, UTC by default); by default now."""
    vcpus: Annotated[int, Meta(ge=0, le=MAX_VCPUS)] = 0
    """How many virtual CPUs the instance had then, by which ``cpu`` becomes ``cpu_util``."""
    vim_id: str | None = None
    """Must be that of the path."""


_decode = msgspec.json.Decoder(SubjectSamples).decode


class PushedSamples:
    """The handler of ``POST …/samples``."""

    def __init__(self, pushing: Pushing) -> None:
        self._pushing = pushing
        self._kafka = pushing.settings.kafka

    def routes(self) -> list[Route]:
        """Return the route."""
        return [
            self._pushing.route("samples", self.push, audit="samples.pushed", body=SubjectSamples)
        ]

    async def push(self, request: web.Request) -> web.Response:
        """Write samples of instances and hosts into Kafka: an entry for each, or an array.

        The cloud's ``[vims.samples]`` must say ``pushed``. It is answered when Kafka has
        acknowledged all of it, and may be sent again: the same sample counts once. An entry that is
        refused refuses the request: nothing of it is written.
        """
        vim_id = vim_id_in(request)
        if vim_id in self._pushing.vim_ids - self._pushing.sampled_vim_ids:
            raise ApiError(
                404, f"samples of {vim_id} are not taken: say pushed = true in its [vims.samples]"
            )
        return await self._pushing.push(request, self._read)

    def _read(self, vim_id: str, entry: Raw) -> Sequence[OutgoingRecord]:
        received_at = arrival_time()
        subject, samples = read_samples(vim_id, entry, received_at)
        return sample_records(
            self._kafka, vim_id, {subject: samples}, source="ingest", received_at=received_at
        )


def read_samples(vim_id: str, entry: Raw, received_at: str) -> tuple[Subject, list[Sample]]:
    """Return what an entry is about, and its samples. Raises EntryError."""
    try:
        said = _decode(entry)
    except UNREADABLE as error:
        raise EntryError(f"no samples: {error}") from None
    if said.vim_id not in (None, vim_id):
        raise EntryError(f"it names the VIM {said.vim_id}, but was sent to {vim_id}")
    if bool(said.instance_id) == bool(said.host):
        raise EntryError("give instance_id or host, and not both")
    if said.instance_id and not is_instance_id(said.instance_id):
        raise EntryError("instance_id is no instance's id")
    if said.host and not is_host(said.host):
        raise EntryError("host is no host's name")
    at = pushed_time(said.timestamp) or received_at
    samples = [_sample(each, at, received_at, said.vcpus) for each in said.samples]
    return Subject(said.instance_id, said.host), samples


def _sample(said: PushedSample, at: str, received_at: str, vcpus: int) -> Sample:
    sample = Sample(
        meter=said.meter,
        volume=said.volume,
        at=pushed_time(said.timestamp) or at,
        kind=said.kind,
        unit=said.unit,
        device=said.device,
        vcpus=vcpus if said.meter == "cpu" else 0,
    )
    if seconds_between(received_at, sample.at) > FUTURE:
        raise EntryError(f"{said.meter}: timestamp {sample.at} is in the future")
    if not milliseconds(sample.at):
        raise EntryError(f"{said.meter}: timestamp {sample.at} is before 1970")
    fault = fault_of(sample)
    if fault:
        raise EntryError(f"{said.meter[:50]!a}: its {_FAULTS[fault]}")
    return sample


_FAULTS = {
    "name": "meter, device and unit are no printable names of 255 bytes in all, without @",
    "volume": "volume is out of bounds",
}
