"""`python -m yolo9000` is the command `yolo9000`."""

from yolo9000.cli import main

main()
