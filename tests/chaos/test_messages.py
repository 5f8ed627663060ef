"""1,000 messages from 20 senders to 5 workers, the orchestrator killed twice: each delivered once, or said not to be."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dodo_claude.state.mail import DELIVERED, FINAL, REFUSED, STATES, UNKNOWN, Mailbox, RefusedError
from tests.chaos.seeds import SEED, report
from tests.integration.scenes import at_gate, bash, configure, events, gate, open_gate, play, write
from tests.project import Live, Project

pytestmark = pytest.mark.tmux
SENDERS, EACH, WORKERS = 20, 50, 5
NAMES = [f"w{number}" for number in range(WORKERS)]
_TEXT = re.compile(r"message \d+/\d+ for w\d")


def told(project: Project, stage: str) -> Counter[str]:
    """How often the worker was told each message, by its own transcript and nothing of ours."""
    found: Counter[str] = Counter()
    transcripts = {str(event.data["transcript_path"]) for event in events(project, stage, "SessionStart")}
    for path in transcripts:
        for line in Path(path).read_text().splitlines():
            # The same text also stands in what a hook printed, and in the prompt's own event.
            if '"hook_additional_context"' in line or '"type": "user"' in line:
                found.update(_TEXT.findall(line))
    return found


def test_each_message_is_delivered_once_or_said_not_to_be(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(
        project,
        {name: {"targets": [f"{name}.txt"]} for name in NAMES},
        max_workers=WORKERS,
        defaults={"retries": 0},
    )
    steps = [*[bash("sleep 0.05")] * 60, gate("sent"), *[bash("true")] * 10, write("{stage}.txt")]
    play(project, {name: [steps, [{"say": "I see."}]] for name in NAMES})
    boxes = {name: Mailbox(project.log(name)) for name in NAMES}
    posted: dict[str, str] = {}  # text -> id
    refused: set[str] = set()
    begun = threading.Barrier(SENDERS + 1)

    def send(sender: int) -> None:
        rng = random.Random(SEED * 100 + sender)
        begun.wait()
        for number in range(EACH):
            name = rng.choice(NAMES)
            text = f"message {sender}/{number} for {name}"
            try:
                posted[text] = boxes[name].post(text, f"sender {sender}")
            except RefusedError:
                refused.add(text)
            time.sleep(rng.random() * 0.1)

    def all_open(live: Live) -> Live:
        project.wait_for(lambda: all(box.at_work() for box in boxes.values()), "all workers")
        return live

    with ThreadPoolExecutor(SENDERS) as pool:
        with project.started() as live:
            all_open(live)
            sending = [pool.submit(send, sender) for sender in range(SENDERS)]
            begun.wait()
            project.wait_for(lambda: len(posted) > 200, "200 messages")
            live.kill()
        with project.started() as live:
            project.wait_for(lambda: len(posted) > 600, "600 messages")
            live.kill()
        with project.started() as live:
            for future in sending:
                future.result()
            at_gate(project, "sent")
            open_gate(project, "sent")
            assert live.wait() == 0, live.text
            late = [boxes[name] for name in NAMES if boxes[name].at_work()]
    assert late == []
    assert len(posted) + len(refused) == SENDERS * EACH

    states = {}
    for text, letter in posted.items():
        box = boxes[text[-2:]]
        (states[text],) = [state for state in STATES if (box.dir / state / letter).exists()]
    assert set(states.values()) <= set(FINAL)
    heard: Counter[str] = sum((told(project, name) for name in NAMES), Counter())
    wrong = [
        (text, state, heard[text])
        for text, state in states.items()
        if heard[text] not in {DELIVERED: (1,), REFUSED: (0,), UNKNOWN: (0, 1)}[state]
    ]
    assert wrong == []
    assert not heard.keys() - states.keys()
    assert all(project.attempts(name) == 1 for name in NAMES)
    count = Counter(states.values())
    report(
        capsys, "messages", [f"{len(posted) + len(refused)}: {dict(count)}, refused at once {len(refused)}"]
    )
    assert count[DELIVERED] > 0.9 * len(posted)
    assert count[UNKNOWN] == 0  # no worker died
