"""How a server is resized: several hosts and a conductor tell, some of them copies that are old."""

from tests.simulated_nova.power import Operation
from tests.simulated_nova.server import API, CONDUCTOR, HOSTS, Server


def hosts_of(server: Server) -> tuple[str, str, str, str]:
    """Return its own host and the others."""
    others = [host for host in HOSTS if host != server.host]
    return server.host or HOSTS[0], others[0], others[1], others[2]


def _prepare(server: Server, target: str) -> None:
    server.tell("resize_prep.start", by=target)
    server.update(task=server.task)  # _prep_resize stashes the vm_state


def _hand_over(server: Server, target: str) -> None:
    """Prepare it on the target and hand it over from the source."""
    _prepare(server, target)
    copy = server.copy
    server.update(task="resize_migrating")
    server.tell("resize_prep.end", by=target, copy=copy)
    server.tell("resize.start")


def _arrive(server: Server, target: str) -> None:
    """Finish it on the target; the source's end comes when it is on already."""
    source = server.host or HOSTS[0]
    server.host = target
    server.update(task="resize_migrated")
    copy = server.copy
    server.update(task="resize_finish")
    server.tell("resize_finish.start")
    server.tell("resize.end", by=source, copy=copy)


def resize(server: Server) -> None:
    """Resize it to another host, and confirm."""
    source, target, *_ = hosts_of(server)
    server.update(task="resize_prep", by=API)
    _hand_over(server, target)
    _arrive(server, target)
    server.update("resized")
    server.tell("resize_finish.end")
    server.begin()
    server.tell("resize_confirm.start", by=source)
    server.update("active")
    server.tell("resize_confirm.end", by=source)


def resize_and_wait(server: Server) -> None:
    """Resize it, and leave it unconfirmed."""
    target = hosts_of(server)[1]
    server.update(task="resize_prep", by=API)
    _hand_over(server, target)
    _arrive(server, target)
    server.update("resized")
    server.tell("resize_finish.end")


def confirm(server: Server) -> None:
    """Confirm it on the source, without a task."""
    source = hosts_of(server)[1]
    server.tell("resize_confirm.start", by=source)
    server.update("active")
    server.tell("resize_confirm.end", by=source)


def confirm_fails(server: Server) -> None:
    """Fail to confirm it."""
    server.tell("resize_confirm.start", by=hosts_of(server)[1])
    server.fail()


def revert(server: Server) -> None:
    """Revert it: the source has it again."""
    source = hosts_of(server)[1]
    server.update(task="resize_reverting", by=API)
    server.tell("resize_revert.start", by=source)
    server.host = source
    server.update(task="resize_reverting")
    server.update("active")
    server.tell("resize_revert.end")
    server.update()  # _delete_stashed_flavor_info


def revert_fails(server: Server) -> None:
    """Fail to revert it."""
    server.update(task="resize_reverting", by=API)
    server.tell("resize_revert.start", by=hosts_of(server)[1])
    server.fail_and_revert()


def _fail_on(server: Server, target: str) -> None:
    """Fail to prepare it on a target, which asks the conductor for another."""
    _prepare(server, target)
    server.update(task="resize_prep")
    _tell_failure(server, target)


def _tell_failure(server: Server, target: str, state: str = "") -> None:
    copy = (state or server.state, "resize_prep")
    server.tell("resize.error", by=target, copy=copy)
    server.tell("resize_prep.end", by=target, copy=copy)


def resize_after_retries(server: Server) -> None:
    """Fail on two targets, then resize it to a third."""
    _source, first, second, third = hosts_of(server)
    server.update(task="resize_prep", by=API)
    _fail_on(server, first)
    _fail_on(server, second)
    _hand_over(server, third)
    _arrive(server, third)
    server.update("resized")
    server.tell("resize_finish.end")


def resize_after_a_retry_that_is_slow_to_tell(server: Server) -> None:
    """Fail on a target that says so when the next and the source are at it already."""
    _source, first, second, _third = hosts_of(server)
    server.update(task="resize_prep", by=API)
    _prepare(server, first)
    server.update(task="resize_prep")
    _hand_over(server, second)
    _tell_failure(server, first)
    _arrive(server, second)
    server.update("resized")
    server.tell("resize_finish.end")


def resize_after_a_retry_that_is_stuck(server: Server) -> None:
    """Fail on a target that says so when all is over."""
    _source, first, second, _third = hosts_of(server)
    server.update(task="resize_prep", by=API)
    _prepare(server, first)
    server.update(task="resize_prep")
    _hand_over(server, second)
    _arrive(server, second)
    server.update("resized")
    server.tell("resize_finish.end")
    _tell_failure(server, first, "active")


def _run_out_of_targets(server: Server) -> None:
    target = hosts_of(server)[1]
    server.update(task="resize_prep", by=API)
    _prepare(server, target)
    server.update(task="resize_prep")
    server.conductor_gives_up("migrate_server", state=server.state)
    _tell_failure(server, target)


def resize_runs_out_of_targets(server: Server) -> None:
    """Fail on a target, then in the conductor: the target's copy is older than the conductor's."""
    _run_out_of_targets(server)
    server.fail()
    server.update()


def resize_runs_out_of_targets_and_is_rolled_back(server: Server) -> None:
    """Do so by an InstanceFaultRollback, which leaves it as it was."""
    _run_out_of_targets(server)
    server.update()


def resize_finds_no_host(server: Server) -> None:
    """Find no host in the conductor."""
    server.update(task="resize_prep", by=API)
    server.conductor_gives_up("migrate_server", state=server.state)


def resize_without_retry_fails(server: Server) -> None:
    """Fail on the only target: no error but the updates'."""
    target = hosts_of(server)[1]
    server.update(task="resize_prep", by=API)
    _prepare(server, target)
    server.tell("resize_prep.end", by=target)
    server.fail_and_revert()


def resize_fails_on_the_source(server: Server) -> None:
    """Fail to migrate its disk."""
    server.update(task="resize_prep", by=API)
    _hand_over(server, hosts_of(server)[1])
    server.fail_and_revert()


def resize_is_rolled_back_on_the_source(server: Server) -> None:
    """Fail to migrate its disk (InstanceFaultRollback): it is as before."""
    server.update(task="resize_prep", by=API)
    _hand_over(server, hosts_of(server)[1])
    server.revert_task()


def resize_fails_on_the_target(server: Server) -> None:
    """Fail to finish it; the source's end comes after the error, and its copy is older."""
    source, target, *_ = hosts_of(server)
    server.update(task="resize_prep", by=API)
    _hand_over(server, target)
    server.host = target
    server.update(task="resize_migrated")
    copy = server.copy
    server.update(task="resize_finish")
    server.tell("resize_finish.start")
    server.fail_and_revert()
    server.tell("resize.end", by=source, copy=copy)


def resize_between_cells(server: Server) -> None:
    """Resize it to another cell: at last the conductor saves the source's hidden copy of it."""
    source, target, *_ = hosts_of(server)
    server.update(task="resize_prep", by=API)
    server.tell("resize_prep.start", by=target)
    server.tell("resize_prep.end", by=target)
    server.update(task="resize_migrating")
    server.tell("resize.start")
    server.update(task="resize_migrated")
    server.tell("resize.end")
    copy = server.copy
    server.host = target
    server.update(task="resize_migrated")
    server.update(task="resize_finish")
    server.tell("resize_finish.start")
    server.update("resized")
    server.tell("resize_finish.end")
    server.update()
    server.host = source
    server.stale_update(copy)
    server.host = target


def resize_between_cells_and_confirm(server: Server) -> None:
    """Do so and confirm: the conductor's start carries the hidden copy."""
    copy = (server.state, "resize_migrated")
    resize_between_cells(server)
    server.begin()
    server.tell("resize_confirm.start", by=CONDUCTOR, copy=copy)
    server.update("active")
    server.tell("resize_confirm.end", by=CONDUCTOR)


RESIZING: tuple[tuple[str, Operation], ...] = (
    ("active", resize),
    ("active stopped", resize_and_wait),
    ("resized", confirm),
    ("resized", confirm_fails),
    ("resized", revert),
    ("resized", revert_fails),
    ("active", resize_after_retries),
    ("active", resize_after_a_retry_that_is_slow_to_tell),
    ("active", resize_after_a_retry_that_is_stuck),
    ("active", resize_runs_out_of_targets),
    ("active stopped", resize_runs_out_of_targets_and_is_rolled_back),
    ("active stopped", resize_finds_no_host),
    ("active", resize_without_retry_fails),
    ("active", resize_fails_on_the_source),
    ("active stopped", resize_is_rolled_back_on_the_source),
    ("active", resize_fails_on_the_target),
    ("active", resize_between_cells),
    ("active", resize_between_cells_and_confirm),
)
"""Operations, with the vm_states in which they are possible."""
