"""Programs that call the server; run from a checkout, for instance ``python -m clients.demo``."""
