"""The job of docker-compose.yml under a name, ports and an image of its own, and who asks it."""

import contextlib
import json
import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Self

import requests

from tests.support.paths import PROJECT
from tests.support.traces import PLAIN, truth
from vimfed.cli.replay import read_trace, replay
from vimfed.process.ports import free_ports

INSTANCES = "/api/multicloud/v1/CloudOwner/RegionOne/instances"
TRUTH: Mapping[str, tuple[str, str]] = truth(PLAIN).states
TRACE = PROJECT / "tests" / "data" / f"{PLAIN}-trace.jsonl.gz"
REQUEST_TIMEOUT = 10.0


class Job:
    """Containers, volumes, a network and an image that nobody else has."""

    def __init__(self) -> None:
        self.name = f"vimfed-check-{os.getpid()}"
        self.image = f"{self.name}:local"
        self.http_port, self.amqp_port = free_ports(2)
        self._environment = {
            **os.environ,
            "JOB_IMAGE": self.image,
            "PUBLISHED_HTTP_PORT": str(self.http_port),
            "PUBLISHED_AMQP_PORT": str(self.amqp_port),
            "COMPOSE_FILE": "docker-compose.yml:tests/containers/overlay.yml",
            "COMPOSE_PROJECT_NAME": self.name,
        }
        self.session = requests.Session()
        self.session.trust_env = False

    def docker(self, *arguments: str, check: bool = True) -> str:
        """Run docker and return what it prints; AssertionError with its words where it fails."""
        done = subprocess.run(
            ["docker", *arguments],
            cwd=PROJECT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stderr[-3000:]}"
        return done.stdout

    def compose(self, *arguments: str) -> str:
        """Run docker compose on the job."""
        return self.docker("compose", *arguments)

    def up(self, workers: int) -> None:
        """Start what does not run, with so many workers; returns when all are healthy."""
        scale = f"worker={workers}"
        self.compose("up", "--detach", "--no-build", "--wait", "--scale", scale)

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """Return what the engine knows of the containers, those that have ended included."""
        labels = [f"label=com.docker.compose.project={self.name}"]
        if service:
            labels.append(f"label=com.docker.compose.service={service}")
        filters = [word for label in labels for word in ("--filter", label)]
        ids = self.docker("ps", "--all", "--quiet", *filters).split()
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", *ids)) if ids else []
        return found

    def unhealthy(self) -> dict[str, str]:
        """Return the containers that should be healthy and are not, and how they are."""
        states = {each["Name"]: each["State"] for each in self.containers()}
        health = {
            name: state["Health"]["Status"] for name, state in states.items() if "Health" in state
        }
        return {name: status for name, status in health.items() if status != "healthy"}

    def log_in(self) -> None:
        """Read the password of the first login, as the documentation says."""
        told = self.compose("exec", "-T", "worker", "cat", "/etc/vimfed/login/worker/password")
        self.session.auth = ("operator", told.strip())

    def replay_trace(self) -> float:
        """Send the recorded notifications from this machine; return the seconds it took."""
        began = time.monotonic()
        url = f"rabbit://guest:guest@127.0.0.1:{self.amqp_port}/?amqp_durable_queues=true"
        replay(read_trace(TRACE), url)
        return time.monotonic() - began

    def url(self, path: str) -> str:
        """Return the URL of a path, through the proxy."""
        return f"http://127.0.0.1:{self.http_port}{path}"

    def state(self, instance_id: str) -> tuple[str, str]:
        """Return (vm_state, task_state) as the API answers. Raises RequestException."""
        with self.session.get(
            self.url(f"{INSTANCES}/{instance_id}"), timeout=REQUEST_TIMEOUT
        ) as got:
            got.raise_for_status()
            answer = got.json()
        return answer["vm_state"], answer["task_state"] or ""

    def wrong_states(self) -> dict[str, object]:
        """Return the servers whose state is not nova's truth, and what was answered."""
        wrong: dict[str, object] = {}
        for instance_id, true in TRUTH.items():
            try:
                told: object = self.state(instance_id)
            except requests.RequestException as error:
                told = str(error)
            if told != true:
                wrong[instance_id] = told
        return wrong

    def events(self) -> float:
        """Return how many events the publisher has delivered since its start."""
        script = "import http.client as h; c = h.HTTPConnection('127.0.0.1', 6070); "
        script += "c.request('GET', '/metrics'); print(c.getresponse().read().decode())"
        metrics = self.compose("exec", "-T", "publisher", "python", "-c", script)
        return sum(
            float(line.rpartition(" ")[2])
            for line in metrics.splitlines()
            if line.startswith("vimfed_publisher_published_total")
        )

    def signal_process(self, container: str, name: str) -> None:
        """Send a signal to the process of a container of ours: the child of its init."""
        script = f"kill -{name} $(cat /proc/1/task/1/children)"
        self.docker("exec", container, "sh", "-c", script)

    def remove(self) -> None:
        """Remove all of it; what the containers said last stands in the output."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "15")
        self.docker("image", "rm", "--force", self.image, check=False)

    def left_over(self) -> dict[str, list[str]]:
        """Return what of the job the engine still has, by kind."""
        label = ("--filter", f"label=com.docker.compose.project={self.name}")
        listed = {
            "containers": self.docker("ps", "--all", "--quiet", *label),
            "volumes": self.docker("volume", "ls", "--quiet", *label),
            "networks": self.docker("network", "ls", "--quiet", *label),
            "images": self.docker("images", "--quiet", self.image),
        }
        return {kind: ids.split() for kind, ids in listed.items() if ids.strip()}


class Client:
    """Asks for servers' states ten times a second while ``with`` lasts, each answer compared."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.right = 0
        self.wrong: list[object] = []
        self.errors: Counter[str] = Counter()
        self.longest = 0.0
        """Seconds between two right answers at most."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        servers, answered = list(TRUTH), time.monotonic()
        while not self._over.wait(0.1):
            server = random.choice(servers)
            try:
                told = self._job.state(server)
            except requests.RequestException as error:
                status = None if error.response is None else error.response.status_code
                self.errors[str(status or type(error).__name__)] += 1
            else:
                now = time.monotonic()
                self.longest, answered = max(self.longest, now - answered), now
                self.right += told == TRUTH[server]
                if told != TRUTH[server]:
                    self.wrong.append((server, told))


@contextlib.contextmanager
def polled(job: Job, what: str) -> Iterator[Client]:
    """Poll while something is done to the job; print what was seen, fail on a wrong answer."""
    began = time.monotonic()
    with Client(job) as client:
        yield client
    seconds = time.monotonic() - began
    print(
        f"{what}: {seconds:.1f} s, {client.right} right, {len(client.wrong)} wrong, errors "
        f"{dict(client.errors)}, at most {client.longest:.1f} s without an answer"
    )
    assert client.wrong == []
    assert client.right > 0
