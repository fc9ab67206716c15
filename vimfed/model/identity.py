"""The name of a cloud: ONAP's vim_id."""


def vim_id_of(cloud_owner: str, cloud_region_id: str) -> str:
    """Return ONAP's vim_id, ``{cloud_owner}_{cloud_region_id}``."""
    return f"{cloud_owner}_{cloud_region_id}"


def split_vim_id(vim_id: str) -> tuple[str, str]:
    """Return (cloud_owner, cloud_region_id): split at the first ``_``, as ONAP does.

    Raises ValueError where there is no ``_`` or one of the two is empty.
    """
    owner, underscore, region = vim_id.partition("_")
    if not (underscore and owner and region):
        raise ValueError(f"not a vim_id (cloud_owner_cloud_region_id): {vim_id!r}")
    return owner, region
