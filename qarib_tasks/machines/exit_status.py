"""Exit statuses of the trainer's commands that say more than "failed"."""

from __future__ import annotations

# `qarib train` stopped on request: EX_TEMPFAIL of sysexits.h. The next run resumes.
STOPPED = 75

# `qarib train` stopped because another rank ended, was lost, or did not join. That rank reports the error.
OTHER_ENDED = 76

# A setting or a file is refused, and is so the next time: EX_CONFIG of sysexits.h.
REFUSED = 78

# The commands that a `Backend` runs, and that end with REFUSED.
COMMANDS = ("train", "evaluate", "export", "finetune")
