"""TLS as the clients of the job speak it, and its servers."""

import ssl

from vimfed.settings import GatewaySettings, SettingsError, Tls, WebSettings


class CertificateError(SettingsError, OSError):
    """A certificate or key cannot be used; who is running tries again, it may just be replaced."""


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return the TLS context of a client.

    Raises CertificateError.
    """
    what = f"ca_file {tls.ca_file}"
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
        what = f"cert_file {tls.cert_file} with key_file {tls.key_file or tls.cert_file}"
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file or None)
    except OSError as error:  # it does not name the file itself
        raise CertificateError(f"cannot use {what}: {error.strerror}") from None
    return context


def server_context(where: str, server: WebSettings | GatewaySettings) -> ssl.SSLContext | None:
    """Return what a server serves HTTPS with, from TLS 1.2 on; None where it serves HTTP.

    ``where`` names its section. Raises CertificateError.
    """
    if not server.cert_file:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(server.cert_file, server.key_file or None)
    except OSError as error:  # ssl.SSLError is one
        raise CertificateError(
            f"{where}.cert_file and {where}.key_file cannot be used: {error.strerror or error}"
        ) from None
    return context
