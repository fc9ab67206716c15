"""What try.sh does inside the cluster, in a pod of the image: standard library alone.

try_client.py truth URL TRUTH           compare every server with nova's own word, until all agree
try_client.py poll URL INSTANCE FILE    ask for one server ten times a second until FILE is there;
                                        FILE-begun is made first

The first one exits with 1 where not all agree after two minutes; the second one prints how many
requests failed, how, and for how long none was answered. TRY_LOGIN of the environment is the login,
user:password.
"""

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

CLOUD = "/api/multicloud/v1/CloudOwner/RegionOne"
PATIENCE = 120.0
"""Seconds in which all servers must come to nova's truth."""
EVERY = 0.1
"""Seconds between two requests of the polling client."""
TIMEOUT = 5.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def asked(url: str) -> dict[str, object]:
    """Return what the API answers. Raises OSError, of which urllib's errors are."""
    login = base64.b64encode(os.environ["TRY_LOGIN"].encode()).decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {login}"})  # noqa: S310
    with _OPENER.open(request, timeout=TIMEOUT) as answer:
        told: dict[str, object] = json.loads(answer.read())
    return told


def differing(url: str, servers: dict[str, dict[str, object]]) -> dict[str, object]:
    """Return the servers that are told otherwise than nova says, with what is told."""
    wrong: dict[str, object] = {}
    for instance_id, server in servers.items():
        try:
            told = asked(f"{url}{CLOUD}/instances/{instance_id}")
        except OSError as error:
            wrong[instance_id] = str(error)
            continue
        states = {key: told.get(key) for key in ("vm_state", "task_state")}
        if states != {key: server[key] for key in states}:
            wrong[instance_id] = states
    return wrong


def truth(url: str, file: str) -> int:
    """Print how many servers are as nova says; return 0 where all are."""
    servers = json.loads(Path(file).read_text())["servers"]
    end = time.monotonic() + PATIENCE
    while (wrong := differing(url, servers)) and time.monotonic() < end:
        time.sleep(1)
    print(f"{len(servers) - len(wrong)} of {len(servers)} servers are as nova says", flush=True)
    for instance_id, told in wrong.items():
        print(f"  {instance_id}: {told}")
    return int(bool(wrong))


def poll(url: str, instance_id: str, file: str) -> int:
    """Print the errors of a polling client, as JSON."""
    failures = Counter[str]()
    count, last, longest = 0, time.monotonic(), 0.0
    Path(f"{file}-begun").touch()
    while not Path(file).exists():
        count += 1
        try:
            asked(f"{url}{CLOUD}/instances/{instance_id}")
            last = time.monotonic()
        except urllib.error.HTTPError as error:
            failures[str(error.code)] += 1
        except OSError as error:
            reason = getattr(error, "reason", error)
            failures[type(reason).__name__] += 1
        longest = max(longest, time.monotonic() - last)
        time.sleep(EVERY)
    told = {"asked": count, "failed": failures, "longest_without_an_answer": round(longest, 1)}
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit({"truth": truth, "poll": poll}[sys.argv[1]](*sys.argv[2:]))
