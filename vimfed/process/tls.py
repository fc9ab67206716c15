"""TLS as clients of the job speak it."""

import ssl

from vimfed.settings import SettingsError


class CertificateError(SettingsError, OSError):
    """A certificate or key cannot be used; who is running tries again, it may just be replaced."""


def tls_context(ca_file: str, cert_file: str, key_file: str) -> ssl.SSLContext:
    """Return the TLS context of a client; the arguments are PEM files, empty: none.

    Raises CertificateError.
    """
    what = f"ca_file {ca_file}"
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        what = f"cert_file {cert_file} with key_file {key_file or cert_file}"
        if cert_file:
            context.load_cert_chain(cert_file, key_file or None)
    except OSError as error:  # it does not name the file itself
        raise CertificateError(f"cannot use {what}: {error.strerror}") from None
    return context
