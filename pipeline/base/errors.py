"""Errors that a user can correct: shown as one message, without a traceback."""


class UserError(Exception):
    """The request cannot be carried out; the message names the file or value and what to do."""


class GranuleError(UserError):
    """A granule cannot be used; it is left out, and its date is a gap in that tile."""


class InUse(UserError):
    """Another run has locked a folder."""

    def __init__(self, folder: str, holder: str) -> None:
        self.folder, self.holder = folder, holder
        super().__init__(
            f"{folder} is in use by {holder}. Wait until it has ended, or end it; then run again. Another --out or "
            "another year can be worked on at the same time."
        )


class OutOfReach(UserError):
    """A service that the run needs does not answer; the same run may succeed later."""


class Superseded(UserError):
    """Another run has begun the output again in the meantime: what was computed for the old one is not written."""


class Cancelled(UserError):
    """The run that had asked for the work has ended."""


class ShardsFailed(UserError):
    """Some shards failed every time; the others are done, and running again does only what is missing."""

    def __init__(self, stage: str, failures: dict[str, str], not_tried: int = 0) -> None:
        self.stage = stage
        self.failures = failures
        listed = "\n".join(f"  {shard}: {reason}" for shard, reason in sorted(failures.items()))
        others = f"the stage was ended early, {not_tried} were not tried" if not_tried else "the others are done"
        super().__init__(
            f"{stage}: {len(failures)} shard(s) failed, {others}:\n{listed}\n"
            "Mend the cause and run the same command again: only what is missing is done."
        )
