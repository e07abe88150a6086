"""Serves the bundle that the webpack stage made."""

from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

print("stage-tree serves /app/static")

if __name__ == "__main__":
    handler = partial(SimpleHTTPRequestHandler, directory="/app/static")
    HTTPServer(("", 8000), handler).serve_forever()
