"""Requests that are not made: `/run` with `on_busy: enqueue` may wait behind a run that waits for a person."""

import schemathesis


@schemathesis.hook
def filter_case(context, case):
    queued = isinstance(case.body, dict) and case.body.get("on_busy") == "enqueue"
    return not (queued and case.operation.path.endswith("/run"))
