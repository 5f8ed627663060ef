"""doit's face: loader, tasks, runner, reporter, backend and the command `doit orchestrate`."""
