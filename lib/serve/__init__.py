"""A page and an HTTP interface on this machine: `seqtrack serve`, docs/serve.md."""
