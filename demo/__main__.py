"""What demo-orchestration.sh starts. Only here so that the rest is imported late."""

import signal
import sys

# The imports take a moment, in which Ctrl-C deserves no traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

if __name__ == "__main__":
    from narrate import main

    sys.exit(main())
