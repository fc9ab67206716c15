"""What of deploy/helm/try.sh can be tried without a cluster."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from tests.support.helm_chart import of_kind, rendered
from tests.support.paths import DATA, PROJECT
from tests.support.threaded_server import ThreadedServer

SCRIPT = PROJECT / "deploy" / "helm" / "try.sh"
CLIENT = SCRIPT.with_name("try_client.py")
TRUTH = DATA / "nova-34-truth.json"
SERVERS = json.loads(TRUTH.read_text())["servers"]


class Workers(ThreadedServer):
    """Workers that tell nova's truth, but for the servers in ``wrong`` so many times."""

    def __init__(self, wrong: dict[str, int], status: int = 200) -> None:
        super().__init__()
        self.wrong = wrong
        self.status = status
        self.asked = 0

    async def _application(self) -> web.Application:
        app = web.Application()
        path = "/api/multicloud/v1/CloudOwner/RegionOne/instances/{id}"
        app.add_routes([web.get(path, self._instance)])
        return app

    async def _instance(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Basic bWU6c2VjcmV0"
        self.asked += 1
        instance_id = request.match_info["id"]
        server = SERVERS[instance_id]
        told = {key: server[key] for key in ("vm_state", "task_state")}
        if self.wrong.get(instance_id):
            self.wrong[instance_id] -= 1
            told["vm_state"] = "building"
        return web.json_response(told, status=self.status)


def client(*arguments: str) -> list[str]:
    return [sys.executable, str(CLIENT), *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "TRY_LOGIN": "me:secret"}


def test_all_servers_are_compared_until_they_are_as_nova_says() -> None:
    with Workers({next(iter(SERVERS)): 1}) as workers:
        done = subprocess.run(
            client("truth", workers.url, str(TRUTH)),
            capture_output=True,
            text=True,
            check=False,
            env=environment(),
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "60 of 60 servers are as nova says\n"
    assert workers.asked == 120


@pytest.mark.parametrize("status", [200, 503])
def test_a_polling_client_counts_what_fails(status: int, tmp_path: Path) -> None:
    enough = tmp_path / "enough"
    with Workers({}, status) as workers:
        arguments = client("poll", workers.url, next(iter(SERVERS)), str(enough))
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment())
        try:
            while workers.asked < 3:
                time.sleep(0.01)
            enough.touch()
            told = json.loads(process.communicate(timeout=60)[0])
        finally:
            process.kill()
            process.wait()
    assert told["asked"] == workers.asked
    assert told["failed"] == ({} if status == 200 else {"503": told["asked"]})


def test_it_is_a_script_that_bash_can_read() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    assert os.access(SCRIPT, os.X_OK)
    if shellcheck := shutil.which("shellcheck"):
        subprocess.run([shellcheck, str(SCRIPT)], check=True)


KUBECTL = """#!/bin/bash
echo "kubectl $*" >> "$STUBS/log"
case "$*" in
*"get namespace"*) exit 1 ;;
*"get storageclass"*) echo '"storageclass.kubernetes.io/is-default-class":"true"' ;;
*"python - poll"*)
    cat >"$STUBS/client"
    while [ ! -e "$STUBS/enough" ]; do sleep 0.01; done
    echo '{"asked": 3}' ;;
*"touch /tmp/enough"*) touch "$STUBS/enough" ;;
*"rm -f /tmp/enough /tmp/enough-begun"*) rm -f "$STUBS/enough" ;;
*"python - truth"*) cat >/dev/null; exit "$DIFFERENT" ;;
*"apply -f -"*) cat >/dev/null ;;
*"print(next(iter("*) echo one-server ;;
esac
"""
"""A cluster in which all goes well, but that servers may be told otherwise than nova says."""
HELM = """#!/bin/bash
echo "helm $*" >> "$STUBS/log"
case "$*" in *"--values -"*) cat >/dev/null ;; esac
"""


@pytest.mark.parametrize("different", [0, 1])
def test_it_goes_through_all_its_steps_and_removes_what_it_made(
    different: int, tmp_path: Path
) -> None:
    for name, text in (("kubectl", KUBECTL), ("helm", HELM)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [str(SCRIPT), "registry:5000/image:tag"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "STUBS": str(tmp_path),
            "DIFFERENT": str(different),
        },
    )
    log = (tmp_path / "log").read_text()
    assert done.returncode == different, done.stderr
    steps = [
        "kubectl create namespace vimfed-try",
        "helm --namespace vimfed-try upgrade --install try",
        "helm --namespace vimfed-try test try",
        "vimfed replay",
        "python - truth",
    ]
    under_load = [
        "rollout restart statefulset/try-vim-event-federation-worker",
        "--replicas=5",
        "--replicas=2",
        "helm --namespace vimfed-try uninstall try",
    ]
    removed = ["kubectl delete namespace vimfed-try"]
    steps += removed if different else under_load + removed
    found = [log.index(step) for step in steps]
    assert found == sorted(found)
    assert ("uninstall" in log) != bool(different)
    if not different:
        assert log.count("python - poll http://try-vim-event-federation:6066 one-server") == 3
        assert done.stdout.count('{"asked": 3}') == 3
        assert (tmp_path / "client").read_text() == CLIENT.read_text()


def test_it_says_what_is_missing(tmp_path: Path) -> None:
    for tool in ("bash", "dirname"):
        found = shutil.which(tool)
        assert found
        (tmp_path / tool).symlink_to(found)
    for arguments, told in (([], "name the image"), (["a:b"], "missing on this machine: kubectl")):
        done = subprocess.run(
            [str(SCRIPT), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": str(tmp_path)},
        )
        assert done.returncode == 1
        assert told in done.stderr


def test_the_chart_makes_of_its_values_what_it_asks_for() -> None:
    text = SCRIPT.read_text()
    (values,) = re.findall(
        r"^values\(\) \{\n    cat <<EOF\n(.*?)^EOF$", text, re.MULTILINE | re.DOTALL
    )
    values = values.replace("${IMAGE%:*}", "image").replace("${IMAGE##*:}", "tag")
    documents = rendered(values, release="try")
    (workers,) = of_kind("StatefulSet", documents)
    assert workers["metadata"]["name"] == "try-vim-event-federation-worker"
    assert workers["spec"]["replicas"] == 3
    assert "try-vim-event-federation" in {
        each["metadata"]["name"] for each in of_kind("Service", documents)
    }
    assert "try-vim-event-federation-worker-login" in {
        each["metadata"]["name"] for each in of_kind("Secret", documents)
    }
    for manifests in re.findall(r"k apply -f - <<EOF\n(.*?)^EOF$", text, re.MULTILINE | re.DOTALL):
        assert all(each["kind"] for each in yaml.safe_load_all(manifests.replace("\\$", "$")))
