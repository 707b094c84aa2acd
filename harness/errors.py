"""What stops a job: each message names the thing, the value and what to do. They end the command with exit code 2, but
for :class:`TargetDied`: that is a finding.
"""

from __future__ import annotations


class JobError(Exception):
    """The job could not be done; what was measured before stays in the record."""


class UsageError(JobError):
    """The caller asked for something that does not exist; the message lists what does."""


class RecordError(JobError):
    """What was seen could not be written down; the record holds everything up to there."""


class LaunchError(JobError):
    """A target did not become ready; the message holds the telling lines of its log."""


class TargetDied(JobError):
    """A target that had been ready ended, or stopped answering, in the middle of a job: a verdict of that job
    (:func:`harness.checks.robustness.died`), and the next job is run.
    """


class Lacking(JobError):
    """A target, or its adapter, does not have what a check needs: the check is not exercised, and says why."""
