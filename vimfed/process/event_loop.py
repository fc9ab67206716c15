"""The event loop of every process, its threads' as well."""

import asyncio

import uvloop


def use_uvloop() -> None:
    """Make uvloop's every event loop that this process makes from now on.

    What a process does for a record at an ordinary day's rate is mostly requests to Kafka and
    tasks that are woken by them. Faust makes a loop of its own for aiokafka's consumer: so it is
    the policy that is set, not one loop.
    """
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
