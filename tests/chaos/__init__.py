"""Disturbances under load. ``make test`` runs a short form of each, ``make chaos`` the long one."""

import os

# Taken out: the processes under test would refuse it as an unknown setting.
LONG = os.environ.pop("VIMFED_CHAOS", "") == "long"
"""Whether the long forms run."""
