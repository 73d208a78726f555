"""Track a target in any video: `python tracking/video_demo.py clip.mp4 --box x,y,w,h`."""

import sys

import _path  # noqa: F401  (puts this repository first on sys.path)

from lib.commands.entry import run

if __name__ == "__main__":
    sys.exit(run("lib.commands.track"))
