"""Runs every query of the dashboards and every rule in a real Prometheus that scrapes a loaded Highwater.

    tests/fixtures/with_server.sh SERVER_BIN_DIR python3 tests/ops/live.py HIGHWATER PROMETHEUS PROMTOOL

The tables, the writes and the configuration are those of compose.yaml, so this tests them too; TLS is added.
Everything listens on the loopback interface only and ends with this program.
"""

import json, os, re, subprocess, sys, tempfile, threading, time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from running import free_address, psql, start, status, wait_for

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["configs"]
RULES_FILE = ROOT / "grafana/rules.yaml"
RULES = [rule for group in yaml.safe_load(RULES_FILE.read_text())["groups"] for rule in group["rules"]]
DASHBOARDS = sorted((ROOT / "grafana").glob("*.json"))
# Metrics that this version does not have yet: queries that use one of them may return no data.
NOT_YET = set((ROOT / "tests/ops/not_yet.txt").read_text().split())

# The values that Grafana would substitute for its variables.
VARIABLES = {"$__rate_interval": "30s", "$__interval": "5s", "$job": ".*", "$instance": ".*", "$table": ".*"}
# Time until the load is visible in every query; a busy machine needs more of it.
SHOWN_MAX_SECONDS = 180


def main():
    highwater_program, prometheus_program, promtool = sys.argv[1:]
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        psql("--command", COMPOSE["tables"]["content"])
        main_address, admin_address = free_address(), free_address()
        start_highwater(stack, home, highwater_program, main_address, admin_address)
        load(stack, home, main_address)
        check_metrics(promtool, fetch(f"http://{admin_address}/metrics"))
        address = start_prometheus(stack, home, prometheus_program, admin_address)
        findings = final_findings(address)
    for finding in findings:
        print(finding, file=sys.stderr)
    sys.exit(1 if findings else 0)


def final_findings(address):
    """The findings left at the deadline; returns early once there are none."""
    deadline = time.monotonic() + SHOWN_MAX_SECONDS
    while (findings := findings_of(Prometheus(address))) and time.monotonic() < deadline:
        time.sleep(1)
    print(f"{len(list(dashboard_queries()))} queries and {len(list(conditions()))} conditions, {len(findings)} findings")
    return findings


def findings_of(prometheus):
    findings = [f"tests/ops/not_yet.txt: {name} exists now; remove it here" for name in sorted(NOT_YET & prometheus.names)]
    for where, query in dashboard_queries():
        if not prometheus.numbers(query) and not NOT_YET & names_in(query):
            findings.append(f"{where}: no data for {query}")
    for where, query in conditions():
        findings += [f"{where}: {finding}" for finding in prometheus.unknown(query)]
    return findings + list(prometheus.unhealthy_rules())


def dashboard_queries():
    """Every query of a panel: each must return data."""
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield f"{file.name}: {panel['title']}", with_variables(target["expr"])


def conditions():
    """Queries that are empty while the service is healthy: the metrics and labels that they use must exist."""
    for rule in RULES:
        yield f"{RULES_FILE.name}: {rule.get('alert') or rule['record']}", rule["expr"]
    for file in DASHBOARDS:
        dashboard = json.loads(file.read_text())
        for annotation in dashboard["annotations"]["list"]:
            if "expr" in annotation:
                yield f"{file.name}: {annotation['name']}", with_variables(annotation["expr"])
        for variable in dashboard["templating"]["list"]:
            found = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable.get("definition", ""))
            if found:
                yield f"{file.name}: ${variable['name']}", '{}{{{}=~".+"}}'.format(*found.groups())


def with_variables(query):
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


def names_in(query):
    """The metrics that a query uses: histograms by their base name, recorded series by the metrics behind them."""
    for rule in RULES:
        if "record" in rule:
            query = query.replace(rule["record"], f"({rule['expr']})")
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"(?<!:)\bhighwater_\w+", query)}


class Prometheus:
    def __init__(self, address):
        self.url = f"http://{address}"
        labels = {}
        for series in self.query("series", {"match[]": '{__name__=~".+"}'}):
            labels.setdefault(series["__name__"], set()).update(series)
        self.labels = labels
        self.names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in labels}

    def query(self, path, query):
        return json.loads(fetch(f"{self.url}/api/v1/{path}?{urlencode(query)}"))["data"]

    def numbers(self, query):
        """The values of a query that are numbers."""
        values = [float(sample["value"][1]) for sample in self.query("query", {"query": query})["result"]]
        return [value for value in values if value == value]

    def unknown(self, query):
        """Metrics and labels in the selectors of a query that no series has."""
        self.query("query", {"query": query})
        if NOT_YET & names_in(query):
            return
        for name, matchers in re.findall(r"((?:job(?:_table)?:)?(?:highwater|process)_[\w:]+|\bup\b)(?:\{(.*?)\})?", query):
            if name not in self.labels:
                yield f"there is no metric {name}"
            for label in re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers):
                if label not in self.labels.get(name, ()):
                    yield f"{name} has no label {label}"

    def unhealthy_rules(self):
        for group in self.query("rules", {})["groups"]:
            for rule in group["rules"]:
                if rule["health"] != "ok":
                    yield f"{RULES_FILE.name}: {rule['name']}: {rule['health']} {rule.get('lastError', '')}"


def start_highwater(stack, home, program, main_address, admin_address):
    (home / "highwater.toml").write_text(COMPOSE["highwater"]["content"])
    certificate, key = make_certificate(home)
    # Trusted by the requests that this program sends.
    os.environ["SSL_CERT_FILE"] = certificate
    environment = {
        **os.environ,
        "HIGHWATER_CONFIG": str(home / "highwater.toml"),
        "HIGHWATER_POSTGRES__URL": f"host={os.environ['PGHOST']} user=highwater dbname={os.environ['PGDATABASE']}",
        "HIGHWATER_HTTP__LISTEN": main_address,
        "HIGHWATER_HTTP__ADMIN_LISTEN": admin_address,
        "HIGHWATER_HTTP__TLS_CERT_FILE": certificate,
        "HIGHWATER_HTTP__TLS_KEY_FILE": key,
    }
    start(stack, home / "highwater.log", [program, "run"], env=environment)
    wait_for(f"http://{admin_address}/livez")
    status(f"https://{main_address}/v1/changes")  # most likely not ready: 503
    wait_for(f"http://{admin_address}/readyz")


def make_certificate(home):
    certificate, key = str(home / "tls.crt"), str(home / "tls.key")
    subprocess.run([
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
        "-subj", "/CN=highwater", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate,
    ], check=True, capture_output=True)
    return certificate, key


def load(stack, home, address):
    """Starts writers and clients of every kind, which run until the end."""
    (home / "writes.sql").write_text(COMPOSE["writes"]["content"])
    start(stack, home / "writes.log", ["psql", "--quiet", f"--file={home}/writes.sql"])
    psql("--command", "TRUNCATE orders")
    ended = threading.Event()
    stack.callback(ended.set)
    for client in (poll, read_rows, follow):
        threading.Thread(target=client, args=(f"https://{address}/v1", ended), daemon=True).start()


def poll(url, ended):
    after = {}
    while not ended.wait(0.05):
        try:
            with urlopen(f"{url}/changes?{urlencode({**after, 'wait': '2s'})}", timeout=10) as answer:
                after = {"after": json.load(answer)["version"]}
            status(f"{url}/changes")
            status(f"{url}/changes?after={after['after']}")
            status(f"{url}/changes?tables=nothing")
        except OSError:
            pass


def read_rows(url, ended):
    for number in count(1):
        if ended.wait(0.02):
            return
        status(f"{url}/tables/items/rows/{number % 2000 + 1}")
        status(f"{url}/tables/orders/rows/{number % 100 + 1}")
        # A new id each time, so that rows are loaded all the time, however slow the machine.
        status(f"{url}/tables/orders/rows/{1_000_000 + number}")


def follow(url, ended):
    while not ended.wait(1):
        try:
            with urlopen(f"{url}/stream", timeout=5) as events:
                while not ended.is_set() and events.readline():
                    pass
        except OSError:
            pass


def start_prometheus(stack, home, program, target):
    config = yaml.safe_load((ROOT / "grafana/prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s"}
    config["rule_files"] = [str(RULES_FILE)]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (home / "prometheus.yaml").write_text(yaml.safe_dump(config))
    address = free_address()
    start(stack, home / "prometheus.log", [
        program, f"--config.file={home}/prometheus.yaml", f"--storage.tsdb.path={home}/data", f"--web.listen-address={address}",
    ])
    wait_for(f"http://{address}/-/ready")
    return address


def check_metrics(promtool, text):
    checked = subprocess.run([promtool, "check", "metrics"], input=text, text=True, capture_output=True)
    if checked.returncode or checked.stderr:
        sys.exit(f"promtool check metrics:\n{checked.stdout}{checked.stderr}")


def fetch(url):
    try:
        with urlopen(url, timeout=10) as answer:
            return answer.read().decode()
    except HTTPError as error:
        sys.exit(f"{url}: {error.read().decode()}")


main()
