"""`python integrations/label_studio/_wsgi.py`: the ML backend as a server on this machine."""

import argparse
import sys

try:
    from label_studio_ml.api import init_app
    from model import SeqTrackBackend
except ModuleNotFoundError as missing:
    print(
        f"error: {missing.name} is not installed in this environment; step 1 of "
        "integrations/label_studio/README.md makes one that has it",
        file=sys.stderr,
    )
    sys.exit(2)  # As the commands end where an extra is missing.

app = init_app(model_class=SeqTrackBackend)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9090)
    # `label-studio-ml start` gives more words than these.
    args, _ = parser.parse_known_args()
    app.run(host=args.host, port=args.port)
