"""Disturbances under load. ``make test`` runs a short form of each, ``make chaos`` the long one."""

import os

LONG = os.environ.get("VIMFED_CHAOS") == "long"
"""Whether the long forms run."""
