"""What polling a cloud costs: requests, and seconds per cycle.

    python -m benchmarks.poller [--servers 2000] [--cycles 10]

A stand-in for nova's API in a process of its own, whose answers cost little, and the poller in this
one; nothing is written to Kafka. Cycles: the first, which lists everything; some without a change;
some in which one percent, and ten percent, of the servers were stopped or started by an action.
"""

import argparse
import concurrent.futures
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

from prometheus_client import CollectorRegistry

from bridge.poller.known_instances import KnownInstances
from bridge.poller.poller import Poller
from bridge.poller.progress import PollerCounters, PollerProgress
from tests.support.sections import vim_of
from tests.support.stub_nova import StubNova
from vimfed.kafka.clients import OutgoingRecord
from vimfed.settings import KafkaSettings

OPERATIONS = (
    ("stop", "compute_stop_instance", "stopped"),
    ("start", "compute_start_instance", "active"),
)


def serve(pipe: Connection, servers: int) -> None:
    """Run the stand-in; change as many servers as the pipe says, until it says nothing."""
    with StubNova() as nova:
        ids = [nova.add() for _ in range(servers)]
        pipe.send(nova.url)
        cycle = 0
        while (changing := pipe.recv()) is not None:
            cycle += 1
            for server in ids[:changing]:
                nova.act(server, *OPERATIONS[cycle % 2])
            pipe.send(len(nova.requests))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", type=int, default=2000)
    parser.add_argument("--cycles", type=int, default=10)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(
        target=serve, args=(theirs, options.servers), daemon=True
    )
    child.start()
    login = StubNova.login_at(ours.recv())
    vim = vim_of(
        {
            "cloud_owner": "benchmark",
            "cloud_region_id": "cloud",
            "poll": {"compare_interval": 0, **login},
        }
    )
    findings = 0

    def write(records: Sequence[OutgoingRecord]) -> concurrent.futures.Future[None]:
        nonlocal findings
        findings += len(records)
        done = concurrent.futures.Future[None]()
        done.set_result(None)
        return done

    progress = PollerProgress(vim.vim_id, 30.0, PollerCounters(CollectorRegistry()))
    known = KnownInstances(KafkaSettings(), list, lambda: False)  # never asked
    poller = Poller(vim, KafkaSettings(), 86_400.0, write, progress, known=known)

    def asked(changing: int) -> int:
        ours.send(changing)
        requests: int = ours.recv()
        return requests

    print(f"{options.servers} servers\n")
    print("| cycle | servers changed | requests | seconds | CPU seconds | findings |")
    print("|---|---|---|---|---|---|")
    share = options.servers // 100
    for name, changing, count in (
        ("the first", 0, 1),
        ("nothing changed", 0, options.cycles),
        ("one percent changed", share, options.cycles),
        ("ten percent changed", 10 * share, max(1, options.cycles // 5)),
    ):
        seconds, cpu, requests, found = [], [], [], []
        for _ in range(count):
            before, findings = asked(changing), 0
            begun, used = time.perf_counter(), time.process_time()
            poller.cycle()
            seconds.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - used)
            requests.append(asked(0) - before)
            found.append(findings)
            if changing:
                time.sleep(2.1)  # until what changed is settled
                poller.cycle()
        print(
            f"| {name} | {changing} | {statistics.median(requests):.0f} "
            f"| {statistics.median(seconds):.2f} | {statistics.median(cpu):.2f} "
            f"| {statistics.median(found):.0f} |"
        )
    ours.send(None)
    child.join(10)


if __name__ == "__main__":
    main()
