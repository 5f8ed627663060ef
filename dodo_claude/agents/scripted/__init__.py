"""The scripted agent: a terminal program that stands in for the `claude` client and plays a scenario file.

Run as `python -m dodo_claude.agents.scripted ARGS`, with the client's arguments, for demos, tests and benchmarks. Rules kept
in every module here:
- It does only what the real client was seen to do, versions 2.1.330 and 2.1.332. What was not seen is left out, not made up.
- One thread. Whatever takes time is a generator that yields what it waits for, so that keys, signals, hooks and
  timers never race: everything that changes the session runs between two calls of select.
- It says on its screen that it is not Claude.
- It starts once per worker, so heavy imports stay out or move into the function that needs them.

Imports go up this list only: errors; grammar, permissions, keys, screen, transcript, loop; scenario, hooks;
arguments; agent; tools; steps; turns; session; __main__.
"""
