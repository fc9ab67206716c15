"""Stories of actions that change no state, beside others that do."""

from tests.stories.beginnings import ACTIVE, PAUSED, STOPPED
from tests.stories.telling import Story

_PAUSES = """
    pause   api   update           active/pausing
    pause   h1    pause.start
    pause   h1    update           paused
    pause   h1    pause.end
"""
_SUSPENDS = """
    suspend  api  update           active/suspending
    suspend  h1   suspend.start
    suspend  h1   update           suspended
    suspend  h1   suspend.end
"""
_STARTS = """
    start   api   update           stopped/powering-on
    start   h1    power_on.start
    start   h1    update           active
    start   h1    power_on.end
"""

STORIES = (
    Story(
        "attaching lasts longer than pausing",
        "ComputeManager._attach_volume: a cast with the API's copy",
        f"""
        attach  h1    volume_attach.start                               volume=v1
        {_PAUSES}
        attach  h1    volume_attach.end     active                      volume=v1
        """,
        given=ACTIVE,
        ends="paused",
    ),
    Story(
        "attaching fails beside pausing",
        "_attach_volume: told by versioned notifications alone",
        f"""
        attach  h1    volume_attach.start                               volume=v1
        {_PAUSES}
        attach  h1    volume_attach.error   active                      volume=v1
        """,
        given=ACTIVE,
        ends="paused",
    ),
    Story(
        "two volumes attached at once beside suspending",
        "two requests; the second waits for the first one's lock",
        f"""
        one     h1    volume_attach.start                               volume=v1
        {_SUSPENDS}
        one     h1    volume_attach.end     active                      volume=v1
        two     h1    volume_attach.start   active                      volume=v2
        two     h1    volume_attach.end     active                      volume=v2
        """,
        given=ACTIVE,
        ends="suspended",
    ),
    Story(
        "detaching begins when pausing has begun",
        "ComputeManager.detach_volume: the copy was made before the task",
        """
        pause   api   update                active/pausing
        detach  h1    volume_detach.start   active                      volume=v1
        detach  h1    volume_detach.end     active                      volume=v1
        """,
        given=ACTIVE,
        ends="active/pausing",
        unheard="active",
    ),
    Story(
        "detaching lasts longer than unpausing",
        "ComputeManager._detach_volume",
        """
        detach   h1   volume_detach.start                               volume=v1
        unpause  api  update                paused/unpausing
        unpause  h1   unpause.start
        unpause  h1   update                active
        unpause  h1   unpause.end
        detach   h1   volume_detach.end     paused                      volume=v1
        """,
        given=PAUSED,
        ends="active",
    ),
    Story(
        "swapping lasts longer than suspending",
        "ComputeManager._do_swap_volume: hours; versioned alone",
        f"""
        swap    h1    volume_swap.start
        {_SUSPENDS}
        swap    h1    volume_swap.end       active
        """,
        given=ACTIVE,
        ends="suspended",
    ),
    Story(
        "swapping fails beside pausing",
        "ComputeManager._swap_volume",
        f"""
        swap    h1    volume_swap.start
        {_PAUSES}
        swap    h1    volume_swap.error     active
        """,
        given=ACTIVE,
        ends="paused",
    ),
    Story(
        "port attached beside pausing",
        "ComputeManager._attach_interface: versioned alone",
        f"""
        port    h1    interface_attach.start
        {_PAUSES}
        port    h1    interface_attach.end  active
        """,
        given=ACTIVE,
        ends="paused",
    ),
    Story(
        "port is not attached beside pausing",
        "ComputeManager._attach_interface",
        f"""
        port    h1    interface_attach.start
        {_PAUSES}
        port    h1    interface_attach.error  active
        """,
        given=ACTIVE,
        ends="paused",
    ),
    Story(
        "port detached beside pausing",
        "ComputeManager._detach_interface",
        f"""
        port    h1    interface_detach.start
        {_PAUSES}
        port    h1    interface_detach.end  active
        """,
        given=ACTIVE,
        ends="paused",
    ),
    Story(
        "address added beside pausing",
        "ComputeManager.add_fixed_ip_to_instance: legacy alone",
        f"""
        ip      h1    create_ip.start
        {_PAUSES}
        ip      h1    create_ip.end         paused
        ip2     h1    delete_ip.start       active
        ip2     h1    delete_ip.end         paused
        """,
        given=ACTIVE,
        ends="paused",
    ),
    Story(
        "share attached beside starting",
        "ShareManager.allow_share: versioned alone, in the API's name",
        f"""
        share   h1    share_attach.start                                share=s1
        {_STARTS}
        share   h1    share_attach.end      stopped                     share=s1
        """,
        given=STOPPED,
        ends="active",
    ),
    Story(
        "share is not attached beside starting",
        "ShareManager.allow_share",
        f"""
        share   h1    share_attach.start                                share=s1
        {_STARTS}
        share   h1    share_attach.error    stopped                     share=s1
        """,
        given=STOPPED,
        ends="active",
    ),
    Story(
        "share detached beside starting",
        "ShareManager.deny_share",
        f"""
        share   h1    share_detach.start                                share=s1
        {_STARTS}
        share   h1    share_detach.end      stopped                     share=s1
        """,
        given=STOPPED,
        ends="active",
    ),
    Story(
        "detaching ends when an error is known",
        "_detach_volume beside suspend_instance",
        """
        detach   h1   volume_detach.start                               volume=v1
        suspend  api  update                active/suspending
        suspend  h1   suspend.start
        suspend  h1   update                error/suspending
        suspend  h1   update                error
        detach   h1   volume_detach.end     active                      volume=v1
        """,
        given=ACTIVE,
        ends="error",
        unheard="active/suspending",
    ),
    Story(
        "tag set by a call that began before pausing",
        "server_tags.py: an update from the copy at the call's beginning, old and new alike",
        f"""{_PAUSES}
        tags    api   tags                  active
        """,
        given=ACTIVE,
        ends="paused",
        formats=("legacy", "versioned"),
    ),
)
