"""An OIDC token server on loopback for the tests: tokens for clients that show their secret (RFC 6749,
section 4.4, client credentials), signed with RS256 (RFC 7515), and the key to verify them (RFC 7517).

    with TokenServer(directory, {"presignd": "secret"}) as tokens:
        tokens.url          # what sasl.oauthbearer.token.endpoint.url names
        tokens.jwks         # file of the keys, for the broker
        tokens.answered     # {client: number of its tokens}
        tokens.secrets["presignd"] = "another"
"""

import base64
import collections
import http.server
import json
import subprocess
import threading
import time
import urllib.parse

ISSUER, AUDIENCE, KEY_ID = "http://127.0.0.1/tests", "kafka", "key-1"


def _base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _openssl(*arguments, **more):
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, **more).stdout


class TokenServer:
    """`secrets` are {client: secret}; a token's subject is its client."""

    def __init__(self, directory, secrets, lifetime_s=300):
        directory.mkdir(parents=True)
        self.secrets = dict(secrets)
        self.lifetime_s = lifetime_s
        self.answered = collections.Counter()
        self.jwks = directory / "jwks.json"
        self._key = directory / "token-key.pem"
        _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self._key)
        modulus = _openssl("rsa", "-in", self._key, "-noout", "-modulus").decode().strip().split("=")[1]
        self.jwks.write_text(json.dumps({"keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID,
            "n": _base64url(bytes.fromhex(modulus)), "e": "AQAB"}]}))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _handler(self):
        tokens = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                status, answer = tokens.answer(self.path, self.headers.get("Authorization", ""), body)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        return Handler

    def answer(self, path, authorization, body):
        """The status and the document that RFC 6749 wants, sections 5.1 and 5.2."""
        form = dict(urllib.parse.parse_qsl(body))
        if path != "/token" or form.get("grant_type") != "client_credentials":
            return 400, {"error": "unsupported_grant_type"}
        kind, _, credentials = authorization.partition(" ")
        client, _, secret = base64.b64decode(credentials or "").decode().partition(":")
        client, secret = urllib.parse.unquote(client), urllib.parse.unquote(secret)
        if kind != "Basic" or not secret or self.secrets.get(client) != secret:
            return 401, {"error": "invalid_client"}
        self.answered[client] += 1
        return 200, {"access_token": self.token(client, form.get("scope", "")), "token_type": "Bearer",
                     "expires_in": self.lifetime_s}

    def token(self, client, scope):
        now = int(time.time())
        head = {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": client, "scope": scope, "iat": now,
                  "exp": now + self.lifetime_s}
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (head, claims))
        signature = _openssl("dgst", "-sha256", "-sign", self._key, input=signed.encode())
        return f"{signed}.{_base64url(signature)}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
