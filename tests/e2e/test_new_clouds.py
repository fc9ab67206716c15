"""A worker learns of clouds by SIGHUP, and of nothing else."""

import os
import signal
from pathlib import Path

from tests.e2e.stack import Stack, eventually
from vimfed.local.kafka import LocalKafka

CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}
NEW = '[[vims]]\ncloud_owner = "CloudOwner"\ncloud_region_id = "RegionTwo"\n'
HOSTS = "/api/multicloud/v1/CloudOwner/RegionTwo/hosts"
PUSH = "/api/multicloud/v1/CloudOwner/RegionTwo/notifications"
STATE = {"instance_id": "vm-1", "state": "active", "timestamp": "2026-01-01T12:00:00Z"}


async def test_a_worker_learns_of_clouds_by_sighup(tmp_path: Path, kafka: LocalKafka) -> None:
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD]) as stack:
        worker = stack.start_worker()
        await stack.ready()
        pid, file, log = worker.pid, tmp_path / "vimfed.toml", tmp_path / "worker.log"
        assert (await stack.get(HOSTS))[0] == 404
        assert (await stack.post(PUSH, STATE))[0] == 404

        async def told(text: str) -> bool:
            return text in log.read_text()

        whole = file.read_text()
        file.write_text(whole.replace("session_timeout = 6", "session_timeout = 7") + NEW)
        os.kill(pid, signal.SIGHUP)
        await eventually(lambda: told("SIGHUP: clouds: added CloudOwner_RegionTwo"), within=10)
        await eventually(lambda: told("SIGHUP: changes in [worker] need a restart"), within=10)
        assert (await stack.get(HOSTS))[0] == 200
        assert (await stack.post(PUSH, STATE))[0] < 300

        file.write_text("[wrong")
        os.kill(pid, signal.SIGHUP)
        await eventually(lambda: told("SIGHUP: the settings stay as they were"), within=10)
        assert (await stack.get(HOSTS))[0] == 200

        file.write_text(whole)
        os.kill(pid, signal.SIGHUP)
        await eventually(lambda: told("SIGHUP: clouds: removed CloudOwner_RegionTwo"), within=10)
        assert (await stack.post(PUSH, STATE))[0] == 404
        assert worker.running
