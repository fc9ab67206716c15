"""A plug-in that pushes the state of a VM, and tries again for as long as it may help.

    python push_state.py CLOUD_OWNER CLOUD_REGION INSTANCE_ID STATE [--url URL]

The answer 200 says that Kafka has the state. Pushed again it is known by its time and content: a
repetition changes nothing.
"""

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime

ATTEMPTS = 5


def main() -> int:
    """Push one state; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("owner")
    parser.add_argument("region")
    parser.add_argument("instance_id")
    parser.add_argument("state", help="one of nova's vm_states: active, stopped, paused, ...")
    parser.add_argument("--url", default="http://127.0.0.1:6066", help="a worker")
    given = parser.parse_args()
    # The time belongs to the state, not to the attempt.
    seen = datetime.now(UTC).isoformat()
    body = {"instance_id": given.instance_id, "state": given.state, "timestamp": seen}
    request = urllib.request.Request(  # noqa: S310 - http or https, as the user says
        f"{given.url}/api/multicloud/v1/{given.owner}/{given.region}/notifications",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
        method="POST",
    )
    for attempt in range(ATTEMPTS):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                print(answer.read().decode())
                return 0
        except urllib.error.HTTPError as error:
            print(error.read().decode(), file=sys.stderr)
            if error.code not in (429, 503):
                return 1  # the text says what to mend; sending it again does not help
            wait = float(error.headers.get("Retry-After", 1))
        except urllib.error.URLError as error:
            print(error, file=sys.stderr)
            wait = 2.0**attempt
        time.sleep(wait)
    return 1


if __name__ == "__main__":
    sys.exit(main())
