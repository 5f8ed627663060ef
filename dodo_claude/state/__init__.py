"""All that lies in `.orchestrate`, how it is written and read, and what an event in it means."""
