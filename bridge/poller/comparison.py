"""Which of the known instances a cloud no longer has, although it never showed their deletion.

A server that was deleted while nobody polled for longer than the first cycle looks back, or that
``nova-manage db archive_deleted_rows`` has purged, is in no list of changes. So what is known is
compared with a whole list, at the start and at a slow interval. A list proves no absence: it is
paged while servers change, and leaves out cells that are down and soft-deleted servers. What it
lacks, and no list of changes shows afterwards, is asked for by its id, in small shares. Only
nova's own 404 to that makes it deleted.
"""

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from bridge.poller.api_error import CloudApiError
from bridge.poller.findings import Finding, Server, bare_state
from bridge.poller.known_instances import Known, KnownInstancesError
from bridge.poller.progress import PollerProgress
from vimfed.model.times import utc_text
from vimfed.nova.bare_state import BareState
from vimfed.nova.states import DELETED
from vimfed.settings import VimSettings

LOG = logging.getLogger(__name__)

T = TypeVar("T")

QUESTIONS_PER_SECOND = 2.0
"""A cycle asks for so many instances per second of the cloud's interval, at most."""
DOUBTFUL = 10
"""Where none of at least so many known instances is listed, it may be another cloud's API."""
WITNESSES = 8
"""So many listed servers are kept in mind, to see whether we may ask for those of others."""
RETRY = 600.0
"""Seconds after which what is known is read again, where that failed."""
MAX_NAMED = 20
"""Instances that one line of the log names, at most."""


class Api(Protocol):
    """What is asked of nova."""

    def project_id(self) -> str:
        """Return the project to which we have logged in."""

    def there(self, server_id: str) -> tuple[Server | None, datetime]:
        """Return a server, None where nova itself says that there is none, and its time."""


class Ask(Protocol):
    """Asks a question of the API, unless the poller is to stop."""

    def __call__(self, ask: Callable[[], T], /) -> T:
        """Return the answer. Raises CloudApiError."""


Take = Callable[[], Known]
"""Returns the instances that are known now. Raises KnownInstancesError."""


class _Answers(NamedTuple):
    """The answers to a share of the questions, by server."""

    gone: dict[str, datetime]
    there: dict[str, Finding]
    unanswered: list[str]

    def outcomes(self) -> dict[str, Collection[str]]:
        """Return the servers by what became of them, in the words of the metrics."""
        return {"deleted": self.gone, "there": self.there, "unanswered": self.unanswered}


class Comparison:
    """One cloud's comparison, made in steps between the cycles of its poller."""

    def __init__(self, vim: VimSettings, api: Api, take: Take, progress: PollerProgress) -> None:
        self._vim = vim
        self._api = api
        self._take = take
        self._progress = progress
        self._due_at = time.monotonic() if vim.poll.compare_interval else math.inf
        self._absent: Known = {}
        """Known instances that the cloud has not shown since."""
        self._count = 0
        """How many there were before it showed any."""
        self._own_project = ""
        self._witnesses: deque[str] = deque(maxlen=WITNESSES)
        """Known servers of other projects that were listed."""
        self.wants_list = False
        """Whether the servers still have to be listed as a whole."""
        self._is_doubted = False
        self._outcomes: Counter[str] = Counter()

    def prepare(self, ask: Ask) -> None:
        """Read what is known, if a comparison is due, before the cloud is asked for anything.

        Raises CloudApiError where we cannot log in.
        """
        if self._absent or self.wants_list or time.monotonic() < self._due_at:
            return
        self._own_project = ask(self._api.project_id)
        try:
            known = self._take()
        except KnownInstancesError as error:
            self._due_at = time.monotonic() + RETRY
            self._give_up(str(error))
            return
        self._due_at = time.monotonic() + self._vim.poll.compare_interval
        if not self._vim.poll.all_projects:
            known = {key: each for key, each in known.items() if each == self._own_project}
        self._absent, self._count = known, len(known)
        self._outcomes.clear()
        self._witnesses.clear()
        self.wants_list = bool(known)
        if not known:
            self._finish()

    def heed(self, servers: Iterable[Server]) -> None:
        """Take note of servers that the cloud has shown, in whatever list, in whatever state."""
        if not self._absent:
            return
        for server in servers:
            project = self._absent.pop(server.id, None)
            if project not in (None, self._own_project) and server.vm_state != DELETED:
                self._witnesses.append(server.id)

    def listed(self) -> None:
        """Note that all servers have been listed since what is known was read."""
        if not self.wants_list:
            return
        self.wants_list = False
        self._progress.absent = len(self._absent)
        is_doubtful = len(self._absent) == self._count >= DOUBTFUL
        if is_doubtful and not self._is_doubted:
            self._is_doubted = True
            self._give_up(
                f"none of the {self._count} instances that are known is listed: are auth_url, "
                "region_name and the user's project this cloud's? If that is still so at the next "
                f"comparison, in {self._vim.poll.compare_interval:.0f} s, they are taken for "
                "deleted"
            )
            return
        self._is_doubted = False
        if self._absent:
            LOG.info(
                "cloud %s: of %d known instances %d are not listed; each is asked for",
                self._vim.vim_id,
                self._count,
                len(self._absent),
            )
        else:
            self._finish()

    def ask(self, ask: Ask, tell: Callable[[Sequence[Finding]], None]) -> None:
        """Ask for some of those that are absent, and tell what follows. Raises CloudApiError."""
        if not self._count or self.wants_list:
            return
        answers = self._answers(ask)
        strangers = [each for each in answers.gone if self._absent[each] != self._own_project]
        if strangers and not self._may_ask_for_others(ask):
            self._give_up(
                "nova answers 404 for servers that it lists: the user may not ask for single "
                "servers of other projects; give it nova's admin role, or set all_projects = false"
            )
            return
        deleted = [
            Finding(BareState(instance_id=each, state=DELETED, timestamp=utc_text(asked_at)))
            for each, asked_at in answers.gone.items()
        ]
        tell([*deleted, *answers.there.values()])
        self._settle(answers)

    def _answers(self, ask: Ask) -> _Answers:
        answers = _Answers({}, {}, [])
        share = max(1, math.ceil(QUESTIONS_PER_SECOND * self._vim.seconds_between_polls))
        for server_id in list(self._absent)[:share]:
            try:
                server, asked_at = ask(partial(self._api.there, server_id))
            except CloudApiError as error:
                # Where a cell is down, older novas fail for its servers alone.
                if error.reason not in ("failing", "slow") or error.retry_after:
                    raise
                answers.unanswered.append(server_id)
                if error.reason == "slow":
                    break
                continue
            if server is None:
                answers.gone[server_id] = asked_at
            elif not server.is_known:  # it lies in a cell that is down
                answers.unanswered.append(server_id)
            else:
                answers.there[server_id] = Finding(bare_state(server, utc_text(asked_at)))
        return answers

    def _may_ask_for_others(self, ask: Ask) -> bool:
        """Return whether a server of another project is shown that is there; True if there is none.

        A policy may let a user list all projects' servers who is no admin: nova then answers 404
        for each of them.
        """
        return not self._witnesses or any(
            ask(partial(self._api.there, witness))[0] is not None
            for witness in reversed(self._witnesses)
        )

    def _settle(self, answers: _Answers) -> None:
        """Note what has been told."""
        for outcome, servers in answers.outcomes().items():
            for server_id in servers:
                self._absent.pop(server_id, None)
            self._outcomes[outcome] += len(servers)
            self._progress.found_absent(outcome, len(servers))
        self._progress.absent = len(self._absent)
        if answers.gone:
            LOG.warning(
                "cloud %s: %d known instances are gone, and nothing had told their deletion: %s",
                self._vim.vim_id,
                len(answers.gone),
                _named(list(answers.gone)),
                extra={"vim_id": self._vim.vim_id},
            )
        if not self._absent:
            self._finish()

    def _finish(self) -> None:
        LOG.info(
            "cloud %s: compared with its API: %d instances known, %d of them gone, %d not listed "
            "but there, %d without an answer",
            self._vim.vim_id,
            self._count,
            *(self._outcomes[outcome] for outcome in ("deleted", "there", "unanswered")),
        )
        self._absent, self._count = {}, 0
        self._progress.compared()

    def _give_up(self, why: str) -> None:
        """End the comparison without a result; the log tells it once for each reason."""
        self._absent, self._count = {}, 0
        if self._progress.not_compared(why):
            LOG.warning(
                "cloud %s: known instances are not compared with its API: %s",
                self._vim.vim_id,
                why,
                extra={"vim_id": self._vim.vim_id},
            )


def _named(server_ids: Sequence[str]) -> str:
    more = len(server_ids) - MAX_NAMED
    named = ", ".join(server_ids[:MAX_NAMED])
    return f"{named} and {more} more" if more > 0 else named
