"""What an entry of samples becomes that somebody pushes."""

import json
from typing import Any, ClassVar

import pytest
from msgspec import Raw

from tests.support.sections import vim_of
from vimfed.alerts.subject import Subject
from vimfed.kafka.sample_records import MOST_SAMPLES
from vimfed.model.samples import Sample
from vimfed.settings import Settings
from web.http.errors import ApiError
from web.pushed_samples import PushedSamples, read_samples
from web.pushing import EntryError, Pushing

NOW = "2026-01-01T12:00:00.000000Z"
ONE = {"meter": "cpu", "volume": 1}


def read(entry: Any) -> tuple[Subject, list[Sample]]:
    content = entry if isinstance(entry, bytes) else json.dumps(entry).encode()
    return read_samples("Owner_Region", Raw(content), NOW)


def test_an_entry_is_about_an_instance_or_a_host() -> None:
    samples = [
        {"meter": "cpu", "volume": 5e9, "kind": "cumulative", "unit": "ns"},
        {
            "meter": "disk.device.read.bytes",
            "volume": 4096,
            "kind": "cumulative",
            "unit": "B",
            "device": "vda",
            "timestamp": "2026-01-01T12:59:00+01:00",
        },
    ]
    entry = {"samples": samples, "timestamp": "2026-01-01T11:59:30Z", "vcpus": 2}
    told = [
        Sample(
            meter="cpu",
            volume=5e9,
            at="2026-01-01T11:59:30.000000Z",
            kind="cumulative",
            unit="ns",
            vcpus=2,
        ),
        Sample(
            meter="disk.device.read.bytes",
            volume=4096,
            at="2026-01-01T11:59:00.000000Z",
            kind="cumulative",
            unit="B",
            device="vda",
        ),
    ]
    assert read({"instance_id": "i-1", **entry}) == (Subject(instance_id="i-1"), told)
    assert read({"host": "h1", "vim_id": "Owner_Region", **entry}) == (Subject(host="h1"), told)


def test_without_a_time_it_is_now_and_a_clock_may_be_a_minute_ahead() -> None:
    assert read({"instance_id": "i", "samples": [ONE]})[1][0].at == NOW
    ahead = {**ONE, "timestamp": "2026-01-01T12:01:00Z"}
    assert read({"instance_id": "i", "samples": [ahead]})[1][0].at > NOW


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (1, "no samples"),
        ({}, "required field `samples`"),
        ({"instance_id": "i", "samples": []}, "length >= 1"),
        ({"instance_id": "i", "samples": [ONE] * (MOST_SAMPLES + 1)}, "length <= 250"),
        ({"samples": [ONE]}, "give instance_id or host"),
        ({"instance_id": "i", "host": "h", "samples": [ONE]}, "and not both"),
        ({"instance_id": "a/b", "samples": [ONE]}, "no instance's id"),
        ({"host": "a b", "samples": [ONE]}, "no host's name"),
        ({"instance_id": "i", "samples": [ONE], "vim_id": "Other_Region"}, "names the VIM Other"),
        ({"instance_id": "i", "samples": [ONE], "timestamp": "noon"}, "ISO 8601"),
        ({"instance_id": "i", "samples": [{**ONE, "timestamp": "noon"}]}, "ISO 8601"),
        ({"instance_id": "i", "samples": [{**ONE, "timestamp": "2026-01-01T12:01:01Z"}]}, "future"),
        (
            {"instance_id": "i", "samples": [ONE], "timestamp": "1969-12-31T23:59:59Z"},
            "before 1970",
        ),
        ({"instance_id": "i", "samples": [{**ONE, "volume": "1"}]}, "Expected `float`"),
        ({"instance_id": "i", "samples": [{**ONE, "volume": 1e300}]}, "volume is out of bounds"),
        ({"instance_id": "i", "samples": [{**ONE, "meter": ""}]}, "length >= 1"),
        ({"instance_id": "i", "samples": [{**ONE, "meter": "a@b"}]}, "without @"),
        ({"instance_id": "i", "samples": [{**ONE, "device": "a\n"}]}, "printable"),
        ({"instance_id": "i", "samples": [{**ONE, "kind": "rate"}]}, "Invalid enum value 'rate'"),
        ({"instance_id": "i", "samples": [{**ONE, "value": 1}]}, "unknown field `value`"),
        ({"instance_id": "i", "samples": [ONE], "vcpus": -1}, ">= 0"),
        (b'{"samples": ' + b"[" * 100_000, "no samples"),
    ],
)
def test_an_entry_that_is_none_is_refused_with_a_reason(entry: Any, complaint: str) -> None:
    with pytest.raises(EntryError, match=complaint):
        read(entry)


class Request(dict[Any, Any]):
    """As much of a request as the handler asks for before it refuses."""

    match_info: ClassVar = {"vim_id": "Owner_Region"}


def settings(*, pushed: bool) -> Settings:
    cloud = {"cloud_owner": "Owner", "cloud_region_id": "Region", "samples": {"pushed": pushed}}
    return Settings(vims=[vim_of(cloud)])


async def test_a_cloud_whose_samples_are_not_taken_says_which_setting_takes_them() -> None:
    pushing = Pushing(settings(pushed=False))
    samples = PushedSamples(pushing)
    with pytest.raises(ApiError, match="say pushed = true in its") as refused:
        await samples.push(Request())  # type: ignore[arg-type]
    assert refused.value.status == 404
    pushing.heed(settings(pushed=True))
    assert pushing.sampled_vim_ids == {"Owner_Region"}
