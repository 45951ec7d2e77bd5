"""Asks a running Highwater what its OpenAPI document allows, and what it does not, and looks whether it keeps its word.

    tests/fixtures/with_server.sh SERVER_BIN_DIR python3 tests/ops/openapi.py HIGHWATER

Needs `schemathesis` on the path. Streams are left out, because they don't end, and so is the socket.
"""

import os, subprocess, sys, tempfile
from contextlib import ExitStack
from pathlib import Path

from running import free_address, psql, start, wait_for

# The same requests every time.
SEED = 20261126
EXAMPLES = 40
# A hang is a failure.
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
# So that a long poll is not held for long.
WRITES = "UPDATE items SET name = name WHERE id = 1 \\; INSERT INTO events SELECT now(), 'tick' \\watch 0.1"

# 503 is an answer like others where the document has it: the service, or a position, is not ready.
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


def main():
    highwater = sys.argv[1]
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        psql("--command", TABLES)
        address = start_highwater(stack, home, highwater)
        (home / "writes.sql").write_text(WRITES)
        start(stack, home / "writes.log", ["psql", "--quiet", f"--file={home}/writes.sql"])
        (home / "schemathesis.toml").write_text(EXPECTATIONS)
        checked = subprocess.run(command(address), cwd=home, timeout=SECONDS_MAX)
        wait_for(f"http://{address}/readyz")
        log = (home / "highwater.log").read_text()
    if "panicked" in log or "ERROR" in log:
        sys.exit(f"the log of Highwater:\n{log}")
    sys.exit(checked.returncode)


def start_highwater(stack, home, program):
    (home / "highwater.toml").write_text(CONFIGURATION)
    address = free_address()
    url = f"host={os.environ['PGHOST']} user={os.environ['PGUSER']} dbname={os.environ['PGDATABASE']}"
    start(stack, home / "highwater.log", [
        program, "run", f"--config={home}/highwater.toml", f"--url={url}", f"--listen={address}", "--slot=openapi",
    ])
    wait_for(f"http://{address}/readyz")
    return address


def command(address):
    return [
        "schemathesis", "run", f"http://{address}/openapi.json", f"--seed={SEED}", f"--max-examples={EXAMPLES}",
        "--workers=4", "--continue-on-failure", "--request-timeout=70",
        "--exclude-path=/v1/stream", "--exclude-path=/v1/ws", "--warnings=off", "--phases=examples,coverage,fuzzing",
        "--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
        "response_schema_conformance",
    ]


main()
