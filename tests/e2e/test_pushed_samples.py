"""Samples that a plug-in pushes are on Kafka when it is answered, of clouds that take them."""

import os
import signal
from pathlib import Path
from typing import Any

from tests.e2e.stack import Stack, eventually
from tests.support.core_truth import records_on
from vimfed.kafka.notification_writer import arrival_time
from vimfed.kafka.partitions import partition_of
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import host_key, instance_key
from vimfed.model.samples import decode_samples
from vimfed.settings import KafkaSettings

CLOUDS: list[dict[str, Any]] = [
    {"cloud_owner": "Owner", "cloud_region_id": "metered", "samples": {"pushed": True}},
    {"cloud_owner": "Owner", "cloud_region_id": "plain"},
]
METERED = "/api/multicloud/v1/Owner/metered/samples"
PLAIN = "/api/multicloud/v0/Owner_plain/samples"


def entry(**about: str) -> dict[str, Any]:
    samples = [{"meter": "cpu", "volume": 5e9, "kind": "cumulative", "unit": "ns"}]
    return {**about, "timestamp": arrival_time(), "vcpus": 2, "samples": samples}


async def test_what_is_pushed_is_on_kafka_under_its_keys(tmp_path: Path, kafka: LocalKafka) -> None:
    async with Stack(tmp_path, kafka.bootstrap, CLOUDS) as stack:
        worker = stack.start_worker()
        await stack.ready()
        pushed = [entry(instance_id="vm-1"), entry(host="h1")]
        assert await stack.post(METERED, pushed) == (200, {"accepted": 2})
        status, answer = await stack.post(METERED, [*pushed, {"instance_id": "vm-2"}])
        assert (status, [each["index"] for each in answer["refused"]]) == (400, [2])
        records = records_on(stack.bootstrap, stack.names.samples)
        told = {each.key: each for each in records if b"Owner_metered" in each.key}
        keys = [instance_key("Owner_metered", "vm-1"), host_key("Owner_metered", "h1")]
        assert sorted(told) == sorted(keys)
        for key, each in told.items():
            assert each.partition == partition_of(key, KafkaSettings().partitions)
            assert each.headers == {"caller": "everybody/admin@127.0.0.1"}
            said = decode_samples(each.value)
            assert (said.source, said.samples[0].vcpus) == ("ingest", 2)
        log = tmp_path / "worker.log"
        assert " event=samples.pushed result=done login=everybody " in log.read_text()

        status, answer = await stack.post(PLAIN, pushed)
        assert (status, answer["error"]) == (
            404,
            "samples of Owner_plain are not taken: say pushed = true in its [vims.samples]",
        )
        file = tmp_path / "vimfed.toml"
        file.write_text(f"{file.read_text()}\n[vims.samples]\npushed = true\n")
        os.kill(worker.pid, signal.SIGHUP)

        async def taken() -> bool:
            return (await stack.post(PLAIN, pushed))[0] == 200

        await eventually(taken, within=10)
