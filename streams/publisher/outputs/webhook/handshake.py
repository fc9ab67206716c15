"""Whether a receiver wants to be sent to: CloudEvents' HTTP 1.1 Web Hooks, 4 (abuse protection)."""

from collections.abc import Mapping

from vimfed.settings import WebhookSettings

ORIGIN = "WebHook-Request-Origin"


class NotGrantedError(Exception):
    """The receiver has not agreed; the text says why, and how to mend it."""


def handshake_headers(webhook: WebhookSettings) -> dict[str, str]:
    """Return the headers of the OPTIONS request that asks."""
    headers = {ORIGIN: webhook.origin}
    if webhook.request_rate:
        headers["WebHook-Request-Rate"] = str(webhook.request_rate)
    return headers


def granted_rate(status: int, headers: Mapping[str, str], webhook: WebhookSettings) -> int | None:
    """Return the requests a minute that an answer allows; None: any number.

    Its status decides nothing. Raises NotGrantedError.
    """
    origin = headers.get("WebHook-Allowed-Origin", "")
    if origin.lower() not in ("*", webhook.origin.lower()):
        told = f"WebHook-Allowed-Origin: {origin[:100]}" if origin else "no WebHook-Allowed-Origin"
        raise NotGrantedError(
            f"the answer {status} to OPTIONS has {told}: let the receiver allow {webhook.origin}, "
            "or, where it does not know this handshake, set webhook.handshake = false"
        )
    rate = headers.get("WebHook-Allowed-Rate", "*")
    if rate == "*":
        return None
    if not rate.isascii() or not rate.isdecimal() or not 0 < len(rate) < 10 or int(rate) == 0:
        raise NotGrantedError(
            f"the answer to OPTIONS has WebHook-Allowed-Rate: {rate[:100]}, which is neither * nor "
            "a number above 0"
        )
    return int(rate)
