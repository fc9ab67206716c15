"""The quick start, word by word: its blocks that are marked with ``run``, one after the other."""

import asyncio
import os
import re
import sys
import uuid
from pathlib import Path

from tests.support.paths import PROJECT
from vimfed.local.kafka import LocalKafka
from vimfed.process.ports import free_ports

QUICK_START = (PROJECT / "docs" / "quick-start.md").read_text()
RUN = re.compile(r"^```sh run\n(.*?)^```$", re.MULTILINE | re.DOTALL)


async def test_the_quick_start_leads_where_it_says(tmp_path: Path, kafka: LocalKafka) -> None:
    """Only ports and topics are the test's own, and Kafka, which runs already."""
    web, bridge, publisher = free_ports(3)
    script = "set -euo pipefail\nset -m\n" + "".join(RUN.findall(QUICK_START))
    assert script.count("127.0.0.1:6066") == 3
    script = script.replace("127.0.0.1:6066", f"127.0.0.1:{web}")
    command = tmp_path / "bin" / "vimfed"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m vimfed "$@"\n')
    command.chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        script,
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{command.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(PROJECT),
            "VIMFED_KAFKA__LOCAL": "false",
            "VIMFED_KAFKA__BOOTSTRAP": kafka.bootstrap,
            "VIMFED_KAFKA__TOPIC_PREFIX": f"quick{uuid.uuid4().hex[:8]}",
            "VIMFED_WEB__PORT": str(web),
            "VIMFED_BRIDGE__PORT": str(bridge),
            "VIMFED_DMAAP__PORT": str(publisher),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 120)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
    told = output.decode()
    assert process.returncode == 0, told
    for line in ("kafka: ok", "output dmaap: ok"):
        assert line in told.splitlines()
    assert told.count('"accepted":1') == 2
    assert re.search(r'"state_description":"stopped".*"count":1', told)
    assert re.search(r"CloudOwner_RegionOne +1 ", told), "the status table"
    assert re.search(r"POWER_OFF|SHUT_DOWN|STATE", told.rpartition("ready")[2]), "the events"
