"""A receiver as its author would write it: CloudEvents' SDK reads, standardwebhooks verifies.

``receiver.py PORT SECRET...`` prints one line of JSON for each request: its path, of each event the
id, type and instance, and whether each secret verifies it. It uses nothing of the project.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cloudevents.http import CloudEvent, from_http, from_json
from standardwebhooks import Webhook, WebhookVerificationError

BATCH = "application/cloudevents-batch+json"
VERIFIERS = [Webhook(secret) for secret in sys.argv[2:]]


def is_verified(verifier: Webhook, body: bytes, headers: dict[str, str]) -> bool:
    """Return whether a secret verifies a request."""
    try:
        verifier.verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def told(event: CloudEvent) -> dict[str, str]:
    """Return what is checked of an event."""
    data: Any = event.get_data()
    data = data if isinstance(data, dict) else json.loads(data)
    return {"id": event["id"], "type": event["type"], "instance": data["instance_id"]}


class Handler(BaseHTTPRequestHandler):
    """Takes everything."""

    protocol_version = "HTTP/1.1"

    def do_OPTIONS(self) -> None:
        """Agree to whoever asks."""
        self.send_response(200)
        self.send_header("WebHook-Allowed-Origin", self.headers["WebHook-Request-Origin"])
        self.send_header("WebHook-Allowed-Rate", "*")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        """Read, verify and tell."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers["content-type"].startswith(BATCH):
            events = [from_json(json.dumps(each)) for each in json.loads(body)]
        else:
            events = [from_http(headers, body)]
        verified = [is_verified(each, body, headers) for each in VERIFIERS]
        line = {"path": self.path, "events": list(map(told, events)), "verified": verified}
        sys.stdout.write(f"{json.dumps(line)}\n")  # in one piece: requests come side by side
        sys.stdout.flush()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Say nothing else."""


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
