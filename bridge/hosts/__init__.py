"""The hosts of a cloud, as its compute API lists them: nova notifies nobody when one just dies."""
