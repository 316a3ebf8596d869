"""`python -m animate_server` is `animate-server`."""

from animate_server.cli import main

main()
