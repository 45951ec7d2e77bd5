"""Sends requests that the OpenAPI document allows, and others, and checks the responses against the document.

    tests/fixtures/with_server.sh SERVER_BIN_DIR python3 tests/ops/openapi.py HIGHWATER

Once without authentication, and once with tokens: without a token, as a reader of one table, and as an administrator. So
401 and 403 are checked against the document, too.

Needs `schemathesis` on the path. Streams and the WebSocket are left out, because they do not end.
"""

import hashlib, os, re, subprocess, sys, tempfile
from contextlib import ExitStack
from pathlib import Path

from running import fetch, free_address, psql, start, wait_for

# Makes the requests reproducible.
SEED = 20261126
EXAMPLES = 40
# Time limit of one run: a hang is a failure.
SECONDS_MAX = 600

TABLES = """
CREATE TABLE items (id bigint PRIMARY KEY, name text, price numeric(9, 2));
CREATE TABLE users (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text);
CREATE TABLE order_lines ("order" int, line text, note jsonb, PRIMARY KEY ("order", line));
CREATE TABLE events (at timestamptz, what text);
INSERT INTO items SELECT n, 'item ' || n, n FROM generate_series(1, 1000) AS n;
INSERT INTO users (name) SELECT 'user ' || n FROM generate_series(1, 100) AS n;
INSERT INTO order_lines SELECT n, 'a,b/' || n, '{"a": 1e400}' FROM generate_series(1, 100) AS n;
ALTER TABLE events REPLICA IDENTITY NOTHING;
CREATE PUBLICATION highwater FOR TABLE items, users, order_lines, events WITH (publish = 'insert');
"""
# Frequent writes, so that long polls end soon.
WRITES = "UPDATE items SET name = name WHERE id = 1 \\; INSERT INTO events SELECT now(), 'tick' \\watch 0.1"

# 503 is a regular response where the document has it: the service, or a position, is not ready.
EXPECTATIONS = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "503"]
"""

CONFIGURATION = """
[tables.items]
rows = "preload"
[tables.order_lines]
rows = "preload"
[tables.users]
rows = "lazy"
"""


READER, ADMIN = "hw_reader_of_items", "hw_admin"


def token_section(name, token, grants):
    return f'[auth.tokens.{name}]\nhash = "sha256:{hashlib.sha256(token.encode()).hexdigest()}"\n{grants}\n'


TOKENS = '[auth]\nmode = "token"\n' + token_section("reader", READER, 'tables = ["items"]') + token_section(
    "admin", ADMIN, "admin = true"
)

# Caller, token, phases, and the statuses that must occur, or nothing was tested. With tokens the handlers are the same, so
# the cases generated from the document one by one are enough.
OPEN = [("anyone", None, "examples,coverage,fuzzing", {200, 404})]
GUARDED = [
    ("a caller without a token", None, "examples,coverage", {401}),
    ("a reader", READER, "examples,coverage", {200, 403, 404}),
    ("an administrator", ADMIN, "examples,coverage", {200, 202, 404}),
]


def main():
    highwater = sys.argv[1]
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        psql("--command", TABLES)
        (home / "writes.sql").write_text(WRITES)
        start(stack, home / "writes.log", ["psql", "--quiet", f"--file={home}/writes.sql"])
        (home / "schemathesis.toml").write_text(EXPECTATIONS)
        results = [
            run(home, highwater, "open", CONFIGURATION, OPEN),
            run(home, highwater, "guarded", CONFIGURATION + TOKENS, GUARDED),
        ]
    sys.exit(max(results))


def run(home, highwater, name, configuration, callers):
    """Runs the requests of each caller against one Highwater."""
    with ExitStack() as stack:
        address = start_highwater(stack, home, highwater, name, configuration)
        results = [run_as(home, address, *caller) for caller in callers]
        wait_for(f"http://{address}/readyz")
        log = (home / f"{name}.log").read_text()
    if "panicked" in log or "ERROR" in log:
        sys.exit(f"Highwater's log:\n{log}")
    return max(results)


def run_as(home, address, caller, token, phases, expected):
    print(f"--- as {caller}", flush=True)
    before = status_counts(address)
    checked = subprocess.run(command(address, token, phases), cwd=home, timeout=SECONDS_MAX)
    missing = expected - {status for status, count in status_counts(address).items() if count > before.get(status, 0)}
    if missing:
        sys.exit(f"as {caller}: no response had the status {sorted(missing)}")
    return checked.returncode


def status_counts(address):
    """The number of responses by status."""
    counts = {}
    for line in fetch(f"http://{address}/metrics", ADMIN).splitlines():
        if found := re.match(r'highwater_http_requests_total{.*status="(\d+)".*} (\d+)', line):
            status, count = map(int, found.groups())
            counts[status] = counts.get(status, 0) + count
    return counts


def start_highwater(stack, home, program, name, configuration):
    (home / f"{name}.toml").write_text(configuration)
    address = free_address()
    url = f"host={os.environ['PGHOST']} user={os.environ['PGUSER']} dbname={os.environ['PGDATABASE']}"
    start(stack, home / f"{name}.log", [
        program, "run", f"--config={home}/{name}.toml", f"--url={url}", f"--listen={address}", f"--slot={name}",
    ])
    wait_for(f"http://{address}/readyz")
    return address


def command(address, token, phases):
    headers = [f"--header=Authorization: Bearer {token}"] if token else []
    return [
        "schemathesis", "run", f"http://{address}/openapi.json", f"--seed={SEED}", f"--max-examples={EXAMPLES}",
        "--workers=4", "--continue-on-failure", "--request-timeout=70", *headers,
        "--exclude-path=/v1/stream", "--exclude-path=/v1/ws", "--warnings=off", f"--phases={phases}",
        "--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
        "response_schema_conformance",
    ]


main()
