"""The HTTP side: check_vim_status, queries, health."""
