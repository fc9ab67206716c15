"""Stories of servers that are stopped, paused, rebooted, rescued or reset, and of errors in it."""

from tests.stories.beginnings import (
    ACTIVE,
    PAUSED,
    RESCUED,
    STOPPED,
    SUSPEND_FAILED,
    SUSPENDED,
)
from tests.stories.telling import Story

_HARD_REBOOT = """
    reboot  api   update           {0}/rebooting_hard
    reboot  h1    reboot.start     {0}/reboot_pending_hard
    reboot  h1    update           {0}/reboot_pending_hard
    reboot  h1    update           {0}/reboot_started_hard
"""
_STOPS = """
    stop    h1    power_off.start
    stop    h1    update           stopped
    stop    h1    power_off.end
"""

STORIES = (
    Story("stopped", "ComputeManager.stop_instance", "", given=STOPPED, ends="stopped"),
    Story(
        "started",
        "ComputeManager.start_instance",
        """
        start   api   update           stopped/powering-on
        start   h1    power_on.start
        start   h1    update           active
        start   h1    power_on.end
        """,
        given=STOPPED,
        ends="active",
    ),
    Story(
        "stopping fails",
        "stop_instance: reverts_task_state",
        """
        stop    api   update           active/powering-off
        stop    h1    power_off.start
        stop    h1    update           active
        """,
        given=ACTIVE,
        ends="active",
        unheard="active/powering-off",
    ),
    Story(
        "starting fails",
        "start_instance: reverts_task_state",
        """
        start   api   update           stopped/powering-on
        start   h1    power_on.start
        start   h1    update           stopped
        """,
        given=STOPPED,
        ends="stopped",
        unheard="stopped/powering-on",
    ),
    Story(
        "starting fails over a share",
        "_power_on: mount_all raises",
        """
        start   api   update           stopped/powering-on
        start   h1    power_on.start
        start   h1    update           error/powering-on
        start   h1    update           error
        """,
        given=STOPPED,
        ends="error",
        unheard="stopped/powering-on",
    ),
    Story(
        "error stopped",
        "API.stop takes an error",
        f"stop api update error/powering-off {_STOPS}",
        given=SUSPEND_FAILED,
        ends="stopped",
    ),
    Story(
        "guest shut itself down",
        "_sync_instance_power_state: the stop API, under the periodic task's request",
        f"""
        stop    h1    update           active                         # power_state
        stop    h1    update           active/powering-off
        {_STOPS}
        """,
        given=ACTIVE,
        ends="stopped",
    ),
    Story(
        "paused guest shut itself down",
        "_sync_instance_power_state: force_stop",
        f"stop h1 update paused/powering-off {_STOPS}",
        given=PAUSED,
        ends="stopped",
    ),
    Story(
        "stopped guest runs",
        "_sync_instance_power_state: force_stop of what is stopped",
        f"stop h1 update stopped/powering-off {_STOPS}",
        given=STOPPED.replace("stop ", "first "),
        ends="stopped",
    ),
    Story(
        "powered off by Ironic",
        "ComputeManager.power_update; the driver saves before the end",
        f"stop h1 update active/powering-off {_STOPS}",
        given=ACTIVE,
        ends="stopped",
    ),
    Story(
        "stop tried again after a restart",
        "_init_instance: stop_instance under a request of its own",
        """
        stop    api   update           active/powering-off
        stop    h1    power_off.start
        init    h1    power_off.start
        init    h1    update           stopped
        init    h1    power_off.end
        """,
        given=ACTIVE,
        ends="stopped",
    ),
    Story(
        "unpaused",
        "ComputeManager.unpause_instance",
        """
        unpause  api  update           paused/unpausing
        unpause  h1   unpause.start
        unpause  h1   update           active
        unpause  h1   unpause.end
        """,
        given=PAUSED,
        ends="active",
    ),
    Story(
        "pausing cut off by a restart",
        "_init_instance: the guest runs, the task is cleared",
        """
        pause   api   update           active/pausing
        pause   h1    pause.start
        init    h1    update           active
        """,
        given=ACTIVE,
        ends="active",
        unheard="active/pausing",
    ),
    Story(
        "unpausing cut off by a restart",
        "_init_instance: the guest runs, and active is saved",
        """
        unpause  api  update           paused/unpausing
        unpause  h1   unpause.start
        init     h1   update           active
        """,
        given=PAUSED,
        ends="active",
        unheard="paused/unpausing",
    ),
    Story(
        "suspending fails",
        "_error_out_instance_on_exception leaves the task, reverts_task_state takes it",
        "",
        given=SUSPEND_FAILED,
        ends="error",
        unheard="active/suspending",
    ),
    Story(
        "suspending is not implemented",
        "_error_out_instance_on_exception: NotImplementedError",
        """
        suspend  api  update           active/suspending
        suspend  h1   suspend.start
        suspend  h1   update           active
        """,
        given=ACTIVE,
        ends="active",
        unheard="active/suspending",
    ),
    Story(
        "resumed",
        "ComputeManager.resume_instance",
        """
        resume  api   update           suspended/resuming
        resume  h1    resume.start
        resume  h1    update           active
        resume  h1    resume.end
        """,
        given=SUSPENDED,
        ends="active",
    ),
    Story(
        "resuming fails",
        "resume_instance: _error_out_instance_on_exception",
        """
        resume  api   update           suspended/resuming
        resume  h1    resume.start
        resume  h1    update           error/resuming
        resume  h1    update           error
        """,
        given=SUSPENDED,
        ends="error",
        unheard="suspended/resuming",
    ),
    Story(
        "soft reboot fails, guest runs",
        "_reboot_instance: REBOOT error and REBOOT end",
        """
        reboot  api   update           active/rebooting
        reboot  h1    reboot.start     active/reboot_pending
        reboot  h1    update           active/reboot_pending
        reboot  h1    update           active/reboot_started
        reboot  h1    reboot.error
        reboot  h1    update           active
        reboot  h1    reboot.end
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "hard reboot fails, guest is down",
        "_reboot_instance: no REBOOT error, but error by an update",
        f"""{_HARD_REBOOT.format("active")}
        reboot  h1    update           error/reboot_started_hard
        reboot  h1    update           error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active/reboot_pending_hard",
    ),
    Story(
        "error rebooted hard",
        "_reboot_instance saves active",
        f"""{_HARD_REBOOT.format("error")}
        reboot  h1    update           active
        reboot  h1    reboot.end
        """,
        given=SUSPEND_FAILED,
        ends="active",
    ),
    Story(
        "error rebooted hard in vain, then not",
        "_reboot_instance: error stays error, which is no change; then it is left",
        f"""{_HARD_REBOOT.format("error").replace("reboot ", "first ")}
        first   h1    update           error
        {_HARD_REBOOT.format("error")}
        reboot  h1    update           active
        reboot  h1    reboot.end
        """,
        given=SUSPEND_FAILED,
        ends="active",
    ),
    Story(
        "rebooted again after a restart",
        "_init_instance: _retry_reboot",
        """
        reboot  api   update           active/rebooting
        reboot  h1    reboot.start     active/reboot_pending
        reboot  h1    update           active/reboot_pending
        reboot  h1    update           active/reboot_started
        init    h1    update           active/reboot_pending_hard
        init    h1    reboot.start
        init    h1    update           active/reboot_started_hard
        init    h1    update           active
        init    h1    reboot.end
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "unrescued",
        "ComputeManager.unrescue_instance",
        """
        unrescue  api  update          rescued/unrescuing
        unrescue  h1   unrescue.start
        unrescue  h1   update          active
        unrescue  h1   unrescue.end
        """,
        given=RESCUED,
        ends="active",
    ),
    Story(
        "rescuing fails",
        "rescue_instance: _set_instance_obj_error_state",
        """
        rescue  api   update           active/rescuing
        rescue  h1    rescue.start
        rescue  h1    update           error/rescuing
        rescue  h1    update           error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active/rescuing",
    ),
    Story(
        "error rescued",
        "API.rescue takes an error",
        """
        rescue  api   update           error/rescuing
        rescue  h1    rescue.start
        rescue  h1    update           rescued
        rescue  h1    rescue.end
        """,
        given=SUSPEND_FAILED,
        ends="rescued",
    ),
    Story(
        "unrescuing fails",
        "unrescue_instance: _error_out_instance_on_exception",
        """
        unrescue  api  update          rescued/unrescuing
        unrescue  h1   unrescue.start
        unrescue  h1   update          error/unrescuing
        unrescue  h1   update          error
        """,
        given=RESCUED,
        ends="error",
        unheard="rescued/unrescuing",
    ),
    Story(
        "password is not set",
        "set_admin_password: no action tells it",
        """
        password  api  update          active/updating_password
        password  h1   update          active
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "reset to error and back",
        "admin_actions.py _reset_state",
        """
        reset   api   update           error
        back    api   update           active
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "reset to error in the middle of a task",
        "_reset_state clears the task as well",
        """
        pause   api   update           active/pausing
        pause   h1    pause.start
        reset   api   update           error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active/pausing",
    ),
    Story(
        "reset to active in the middle of a task",
        "_reset_state of a server that hangs in error",
        """
        reboot  api   update           error/rebooting_hard
        reset   api   update           active
        """,
        given=SUSPEND_FAILED,
        ends="active",
        unheard="active/suspending",
    ),
    Story(
        "guest is not resumed when the host boots",
        "_resume_guests_state: nothing but an update",
        "init h1 update error",
        given=ACTIVE,
        ends="error",
        unheard="active",
    ),
    Story(
        "network is not plugged when the service starts",
        "_init_instance: VirtualInterfacePlugException; the task stays",
        """
        password  api  update          active/updating_password
        init      h1   update          error/updating_password
        """,
        given=ACTIVE,
        ends="error/updating_password",
        unheard="active",
    ),
    Story(
        "error, and error again",
        "each change to error is news",
        """
        hard    api   update           error/rebooting_hard
        hard    h1    reboot.start     error/reboot_pending_hard
        hard    h1    update           error/reboot_pending_hard
        hard    h1    update           error/reboot_started_hard
        hard    h1    update           active
        hard    h1    reboot.end
        again   api   update           active/suspending
        again   h1    suspend.start
        again   h1    update           error/suspending
        again   h1    update           error
        """,
        given=SUSPEND_FAILED,
        ends="error",
        unheard="active/suspending",
    ),
    Story(
        "locked while it is paused",
        "API.lock: a copy, and told by versioned notifications alone",
        """
        pause   api   update           active/pausing
        lock    api   update           active/pausing
        lock    api   lock
        pause   h1    pause.start
        pause   h1    update           paused
        pause   h1    pause.end
        unlock  api   update           paused
        unlock  api   unlock
        """,
        given=ACTIVE,
        ends="paused",
    ),
    Story(
        "crash dump that takes longer than a pause",
        "ComputeManager.trigger_crash_dump: no task, no lock, the API's copy",
        """
        dump    h1    trigger_crash_dump.start
        pause   api   update           active/pausing
        pause   h1    pause.start
        pause   h1    update           paused
        pause   h1    pause.end
        dump    h1    trigger_crash_dump.end  active
        """,
        given=ACTIVE,
        ends="paused",
    ),
    Story(
        "error reset in the middle of a hard reboot",
        "_reset_state: another request than the one whose action has begun",
        f"""{_HARD_REBOOT.format("error")}
        reset   api   update           active
        """,
        given=SUSPEND_FAILED,
        ends="active",
        unheard="error/reboot_pending_hard",
    ),
    Story(
        "error stopped in vain",
        "stop_instance: reverts_task_state",
        """
        stop    api   update           error/powering-off
        stop    h1    power_off.start
        stop    h1    update           error
        """,
        given=SUSPEND_FAILED,
        ends="error",
        unheard="error/powering-off",
    ),
    Story(
        "reset to error twice",
        "_reset_state of what is in error already",
        """
        reset   api   update           error
        again   api   update           error
        back    api   update           active
        third   api   update           error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active",
    ),
    Story(
        "paused and suspended at once",
        "API.suspend takes active with no task; the slower call is refused, and nothing told",
        """
        pause   api   update           active/pausing
        pause   h1    pause.start
        pause   h1    update           paused
        pause   h1    pause.end
        tag     api   update           paused
        """,
        given=ACTIVE,
        ends="paused",
    ),
)
