"""How doit knows that a file_dep is as it was."""

from __future__ import annotations

import os
from typing import Any

from doit.dependency import MD5Checker, get_file_md5

from dodo_claude.config import inputs


class ContentChecker(MD5Checker):
    """doit's MD5 checker, which believes an unchanged time of the last write; ours wants the same file with the same
    times, as verify.same_bytes does. Different times alone are no change: then the content decides.

    A state is `[mtime_ns, size, md5, ctime_ns, inode, device]`; one of an earlier version has no more than four, and goes
    by the bytes alone.
    """

    def check_modified(self, file_path: str, file_stat: os.stat_result, state: Any) -> bool:
        """Called by doit with what `get_state` gave when the task succeeded."""
        if _as_then(file_stat, state):
            return False
        if not isinstance(state, list | tuple) or len(state) < 3:
            return True
        return bool(file_stat.st_size != state[1] or get_file_md5(file_path) != state[2])

    def get_state(self, dep: str, current_state: Any) -> Any:
        """Called by doit after a success; None: as it was."""
        status = os.stat(dep)
        if _as_then(status, current_state):
            return None
        changed = status.st_ctime_ns if inputs.lasting(inputs.signature_of(status)) else 0
        return (
            status.st_mtime_ns, status.st_size, get_file_md5(dep), changed, status.st_ino, status.st_dev
        )  # fmt: skip


def _as_then(status: os.stat_result, state: Any) -> bool:
    """Is it that file, with its times from then?"""
    if not isinstance(state, list | tuple) or len(state) != 6:
        return False
    modified, size, _, changed, number, device = state
    return inputs.signature_of(status) == [modified, changed, size, number, device]
