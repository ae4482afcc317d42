"""A real nginx in front of the sandbox: Debian's program, as a reverse proxy with TLS. Upstream it
makes a connection for each request, so that what it does to kept ones is its own doing."""

import os
import subprocess

from harness import ROOT, Program, wait_until
from kafka_broker import free_ports

CONFIG = """\
{user}daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_timeout {keepalive_s}s;
    {server}
}}
"""

SERVER = """\
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {sandbox}/server.pem;
        ssl_certificate_key {sandbox}/server-key.pem;
        location / {{
            proxy_pass https://127.0.0.1:{upstream};
            proxy_next_upstream off;
            proxy_read_timeout 600s;
        }}
    }}
"""


def find_nginx():
    done = subprocess.run([ROOT / "scripts" / "debian-tool", "nginx", "nginx"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Nginx(Program):
    """Ends with the World whose sandbox it stands before. Its workers end with the master only where
    that can tell them to: so it gets SIGTERM."""

    death_signal = "TERM"

    def __init__(self, world, keepalive_s=75, server=None):
        """`server`: instead of the one above; a function of the port."""
        self.directory = world.directory / "nginx"
        self.directory.mkdir()
        self.port = free_ports(1)[0]
        self.config = self.directory / "nginx.conf"
        server = server(self.port) if server else SERVER.format(
            port=self.port, sandbox=world.sandbox.directory, upstream=world.sandbox.port)
        self.config.write_text(CONFIG.format(user="user root;\n" if os.getuid() == 0 else "", directory=self.directory,
                                             keepalive_s=keepalive_s, server=server))
        self.command = [find_nginx(), "-e", self.directory / "nginx.log", "-c", self.config]
        super().__init__("nginx", self.command, self.directory / "start.log")
        world.daemons.append(self)
        self.wait_until_ready((self.directory / "nginx.pid").exists)

    def kill(self):
        self.terminate()

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def reload(self):
        """`nginx -s reload`: new workers, and the old ones end with their idle connections."""
        subprocess.run([*map(str, self.command), "-s", "reload"], check=True, timeout=180)

    def reload_and_wait(self):
        """Until every connection of now has been ended by the old worker."""
        before = self.workers()
        self.reload()
        wait_until(lambda: not before & self.workers(), "the old worker to end")

    def workers(self):
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(path, encoding="ascii") as children:
            return set(children.read().split())
