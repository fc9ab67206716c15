"""How a server is migrated alive: source, target and conductor tell, and some copies are old."""

from tests.simulated_nova.power import Operation, over_one_task
from tests.simulated_nova.resizing import hosts_of
from tests.simulated_nova.server import API, CONDUCTOR, Server

rescue = over_one_task("rescue", "rescuing", "rescued")


def _begin_live_migration(server: Server, target: str) -> None:
    server.update(task="migrating", by=CONDUCTOR)
    server.tell("live_migration_pre.start", by=target)
    server.tell("live_migration_pre.end", by=target)


def live_migrate(server: Server) -> None:
    """Migrate it: the source's last word carries its old copy."""
    source, target, *_ = hosts_of(server)
    _begin_live_migration(server, target)
    copy = server.copy
    server.tell("live_migration_post.start")
    server.tell("live_migration_post_dest.start", by=target)
    server.host = target
    server.update()
    server.tell("live_migration_post_dest.end")
    server.tell("live_migration_post.end", by=source, copy=copy)


def _rollback(server: Server, told_at: str) -> None:
    """Roll back; the target's word is cast, and comes at the ``start``, the ``end`` or between."""
    target, copy = hosts_of(server)[1], server.copy
    server.tell("live_migration_rollback.start")
    if told_at != "end":
        server.tell("live_migration_rollback_dest.start", by=target, copy=copy)
    if told_at == "start":
        server.tell("live_migration_rollback_dest.end", by=target, copy=copy)
    server.update()
    server.tell("live_migration_rollback.end")
    if told_at == "end":
        server.tell("live_migration_rollback_dest.start", by=target, copy=copy)
    if told_at != "start":
        server.tell("live_migration_rollback_dest.end", by=target, copy=copy)


def live_migration_rolled_back(told_at: str) -> Operation:
    """Return the operation that begins to migrate it and rolls back."""

    def operate(server: Server) -> None:
        _begin_live_migration(server, hosts_of(server)[1])
        _rollback(server, told_at)

    operate.__name__ = f"live_migration_rolled_back_{told_at}"
    return operate


def live_migration_is_not_prepared(server: Server) -> None:
    """Fail to prepare it on the target, which tells no end, and roll back."""
    server.update(task="migrating", by=CONDUCTOR)
    server.tell("live_migration_pre.start", by=hosts_of(server)[1])
    _rollback(server, "end")


def live_migration_is_aborted(server: Server) -> None:
    """Abort it by another request, whose end may come when it is rolled back already."""
    _begin_live_migration(server, hosts_of(server)[1])
    migration, copy = f"req-{server.requests}", server.copy
    abort = server.begin()
    server.tell("live_migration_abort.start")
    server.tell("live_migration_rollback.start", request=migration)
    server.update(request=migration)
    server.tell("live_migration_rollback.end", request=migration)
    server.tell("live_migration_abort.end", request=abort, copy=copy)


def live_migration_is_forced(server: Server) -> None:
    """Force it to complete by another request, whose end comes when it is over."""
    source, target, *_ = hosts_of(server)
    _begin_live_migration(server, target)
    migration, copy = f"req-{server.requests}", server.copy
    force = server.begin()
    server.tell("live_migration_force_complete.start")
    server.tell("live_migration_post.start", request=migration)
    server.tell("live_migration_post_dest.start", by=target, request=migration)
    server.host = target
    server.update(request=migration)
    server.tell("live_migration_post_dest.end", request=migration)
    server.tell("live_migration_force_complete.end", by=source, request=force, copy=copy)
    server.tell("live_migration_post.end", by=source, request=migration, copy=copy)


def live_migration_finds_no_host(server: Server) -> None:
    """Find no host in the conductor."""
    server.update(task="migrating", by=CONDUCTOR)
    server.conductor_gives_up("migrate_server", state=server.state)


def live_migration_fails_in_the_conductor(server: Server) -> None:
    """Fail in the conductor for a reason that it does not expect: error, as the action tells."""
    server.update(task="migrating", by=CONDUCTOR)
    server.conductor_gives_up("migrate_server")


def live_migration_fails_on_the_target(server: Server) -> None:
    """Fail after it has moved, on the target: error, and the source ends with its old copy."""
    source, target, *_ = hosts_of(server)
    _begin_live_migration(server, target)
    copy = server.copy
    server.tell("live_migration_post.start")
    server.tell("live_migration_post_dest.start", by=target)
    server.host = target
    server.fail()
    server.tell("live_migration_post.end", by=source, copy=copy)


def live_migration_fails_on_the_source(server: Server) -> None:
    """Fail after it has moved, on the source: it is put on the target, then into error."""
    target = hosts_of(server)[1]
    _begin_live_migration(server, target)
    server.tell("live_migration_post.start")
    server.host = target
    server.update()
    server.fail()


def live_migration_is_overtaken(server: Server) -> None:
    """Reset and rescue it while it migrates, which then fails: as servers of the rough run."""
    target = hosts_of(server)[1]
    _begin_live_migration(server, target)
    migration, copy = f"req-{server.requests}", server.copy
    server.begin()
    server.update(by=API)
    server.begin()
    rescue(server)
    server.tell("live_migration_post.start", request=migration, copy=copy)
    server.tell("live_migration_post_dest.start", by=target, request=migration, copy=copy)
    server.host = target
    server.update(request=migration)
    server.fail(request=migration)


LIVE_MIGRATING: tuple[tuple[str, Operation], ...] = (
    ("active paused", live_migrate),
    ("active", live_migration_rolled_back("start")),
    ("active", live_migration_rolled_back("between")),
    ("active paused", live_migration_rolled_back("end")),
    ("active", live_migration_is_not_prepared),
    ("active", live_migration_is_aborted),
    ("active", live_migration_is_forced),
    ("active", live_migration_finds_no_host),
    ("active", live_migration_fails_in_the_conductor),
    ("active", live_migration_fails_on_the_target),
    ("active", live_migration_fails_on_the_source),
    ("active", live_migration_is_overtaken),
)
"""Operations, with the vm_states in which they are possible."""
