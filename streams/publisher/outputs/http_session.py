"""The HTTP session of an output."""

from typing import Any

import aiohttp

from vimfed.process.bounded_answer import bounded_session
from vimfed.process.tls import tls_context
from vimfed.settings import DmaapOutput


def http_session(output: DmaapOutput, url: str) -> aiohttp.ClientSession:
    """Return a session to ask ``url``, with the output's timeout and, for https, its TLS.

    Raises what ``tls_context`` raises.
    """
    options: dict[str, Any] = {"ssl": tls_context(output)} if url.startswith("https:") else {}
    return bounded_session(
        connector=aiohttp.TCPConnector(**options),
        timeout=aiohttp.ClientTimeout(total=output.timeout),
    )
