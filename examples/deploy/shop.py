"""A web service that says its version. VERSION=broken makes one that fails."""
import http.server
import os

VERSION = "1.0"


class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if VERSION == "broken" else 200)
        self.end_headers()
        self.wfile.write(f"shop {VERSION}, {os.environ.get('LEVEL', '')}\n".encode())

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Shop).serve_forever()
