"""The HTTP session of an output."""

from typing import Any

import aiohttp

from vimfed.process.bounded_answer import bounded_session
from vimfed.process.tls import tls_context
from vimfed.settings import DmaapOutput


def http_session(output: DmaapOutput, url: str, **connector: Any) -> aiohttp.ClientSession:
    """Return a session to ask ``url``, with the output's timeout and, for https, its TLS.

    ``connector``: further options of aiohttp's. Raises what ``tls_context`` raises.
    """
    if url.startswith("https:"):
        connector["ssl"] = tls_context(output)
    return bounded_session(
        connector=aiohttp.TCPConnector(**connector),
        timeout=aiohttp.ClientTimeout(total=output.timeout),
    )
