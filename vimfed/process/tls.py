"""TLS as clients of the job speak it."""

import ssl

from vimfed.settings import SettingsError, Tls


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
