"""The whole job in containers, from build to end; each test goes on where the last ended."""

import time
from collections.abc import Callable, Iterator

import pytest
import requests

from tests.containers.job import TRUTH, Job, polled

pytestmark = pytest.mark.timeout(900)
FROZEN_FOR = 200.0
"""Seconds within which a process that hangs is started again: six checks, and a start."""
OURS = ("bridge", "worker", "publisher")


@pytest.fixture(scope="module")
def job() -> Iterator[Job]:
    """The job; it is removed whatever comes of it."""
    job = Job()
    try:
        yield job
    finally:
        job.remove()


def eventually(condition: Callable[[], object], *, within: float, every: float = 1.0) -> float:
    """Return the seconds until ``condition`` holds; AssertionError with its last word."""
    began = time.monotonic()
    while not (told := condition()):
        assert time.monotonic() - began < within, f"not within {within} s: {told!r}"
        time.sleep(every)
    return time.monotonic() - began


def all_are_right(job: Job, within: float) -> float:
    """Return the seconds until every server is answered as nova says it is."""

    began = time.monotonic()
    while wrong := job.wrong_states():
        assert time.monotonic() - began < within, wrong
        time.sleep(0.5)
    return time.monotonic() - began


def all_events(job: Job) -> float:
    """Return how many events were published, once that has not grown for three seconds."""
    count, since = job.events(), time.monotonic()
    while time.monotonic() - since < 3:
        time.sleep(0.5)
        if (now := job.events()) != count:
            count, since = now, time.monotonic()
    return count


def test_the_image_is_built_as_shipped(job: Job) -> None:
    began = time.monotonic()
    job.compose("build")
    print(f"build: {time.monotonic() - began:.0f} s")


def test_up_returns_when_queries_are_answered(job: Job) -> None:
    """Behind a proxy that is none, and with a RabbitMQ that refuses transient queues."""
    began = time.monotonic()
    job.up(workers=3)
    print(f"up to ready: {time.monotonic() - began:.1f} s")
    job.log_in()
    with job.session.get(job.url("/api/multicloud/v1/vims"), timeout=10) as answer:
        assert answer.status_code == 200, answer.text


def test_containers_have_no_rights_and_no_volume_without_a_name(job: Job) -> None:
    for container in job.containers():
        host = container["HostConfig"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["Memory"] > 0
        assert host["PidsLimit"] > 0
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        assert host["ReadonlyRootfs"] is (service not in ("kafka", "rabbitmq"))
        named = [each["Name"] for each in container["Mounts"] if each["Type"] == "volume"]
        assert [name for name in named if not name.startswith(job.name)] == []


def test_every_server_of_the_trace_is_as_nova_says(job: Job) -> None:
    seconds = job.replay_trace()
    settled = all_are_right(job, within=120)
    print(f"replay: {seconds:.1f} s; all {len(TRUTH)} servers right {settled:.1f} s after its end")
    assert len(TRUTH) == 60


def test_scaling_and_a_death_cost_seconds_and_no_wrong_answer(job: Job) -> None:
    before = all_events(job)
    with polled(job, "3 to 5 workers"):
        job.up(workers=5)
        time.sleep(5)
    with polled(job, "5 to 2 workers"):
        job.up(workers=2)
        time.sleep(5)
    with polled(job, "a worker killed"):
        job.signal_process(job.containers("worker")[0]["Id"], "KILL")
        time.sleep(20)
        all_are_right(job, within=60)
    print(f"events: {before:.0f} delivered")
    assert all_events(job) == before, "rows that move tell nothing anew"


def test_brokers_that_start_anew_lose_nothing(job: Job) -> None:
    with polled(job, "Kafka restarted"):
        job.compose("restart", "kafka")
        # The workers answer rightly until they notice: what follows belongs to this figure.
        eventually(lambda: not job.unhealthy(), within=150)
        time.sleep(20)
        all_are_right(job, within=120)
    with polled(job, "RabbitMQ restarted"):
        job.compose("restart", "rabbitmq")
        seconds = eventually(lambda: not job.unhealthy(), within=150)
    print(f"all healthy again after {seconds:.1f} s")
    queues = job.compose(
        "exec", "-T", "rabbitmq", "rabbitmqctl", "-q", "list_queues", "name", "durable"
    )
    assert "vimfed\ttrue" in queues


def test_a_process_that_hangs_is_started_again(job: Job) -> None:
    (frozen, *_) = job.containers("worker")
    job.signal_process(frozen["Id"], "STOP")

    def is_back() -> bool:
        (now,) = [each for each in job.containers("worker") if each["Id"] == frozen["Id"]]
        is_new = now["State"]["Pid"] != frozen["State"]["Pid"]
        return bool(is_new and now["State"]["Health"]["Status"] == "healthy")

    print(f"a frozen worker is back after {eventually(is_back, within=FROZEN_FOR):.0f} s")
    all_are_right(job, within=60)


def test_an_open_dashboard_does_not_hold_up_a_stop(job: Job) -> None:
    stream = job.session.get(job.url("/api/multicloud/v1/events"), stream=True, timeout=30)
    with stream:
        assert stream.status_code == 200
        began = time.monotonic()
        job.compose("stop")
        seconds = time.monotonic() - began
    print(f"stop: {seconds:.1f} s")
    codes = {each["Name"]: each["State"]["ExitCode"] for each in job.containers()}
    killed = {name: code for name, code in codes.items() if code == 137}
    assert killed == {}, "ended by force, after the time that it had"


def test_down_and_up_keep_the_state(job: Job) -> None:
    job.compose("down")
    assert job.containers() == []
    began = time.monotonic()
    job.up(workers=3)
    seconds = time.monotonic() - began
    assert job.wrong_states() == {}
    print(f"down, and up again to ready, all right at once: {seconds:.1f} s")


def test_nothing_is_left(job: Job) -> None:
    job.remove()
    assert job.left_over() == {}
    with pytest.raises(requests.ConnectionError):
        job.session.get(job.url("/readyz"), timeout=5)
