"""Renders the chart with each of its ci/*.yaml and checks the result.

    python3 tests/ops/chart.py HIGHWATER PROMTOOL

Needs `helm` and `kubernetes-validate` on the path.
"""

import json, subprocess, sys, tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/highwater"
# Kinds of the Prometheus operator, which the validator does not know.
CUSTOM_KINDS = {"ServiceMonitor", "PrometheusRule"}


def main():
    highwater, promtool = sys.argv[1:]
    values = sorted((CHART / "ci").glob("*.yaml"))
    for file in values:
        rendered = render("--values", file)
        expect_valid(file, rendered)
        documents = [document for document in yaml.safe_load_all(rendered) if document]
        expect_confined(file, documents)
        expect_accepted(file, documents, highwater)
        expect_unchanged(documents, promtool)
        expect_one_protocol(file, documents)
    expect_refused("no database URL", "postgres.urlKey")
    expect_refused("misspelled value", "replica", "--set", "postgres.url=postgres://db/app,replica=2")
    print(f"{len(values)} sets of values are valid")


def helm(*arguments):
    return subprocess.run(["helm", *map(str, arguments)], capture_output=True, text=True)


def render(*arguments):
    linted = helm("lint", "--strict", CHART, *arguments)
    assert linted.returncode == 0, f"helm lint: {linted.stdout}{linted.stderr}"
    rendered = helm("template", "hw", CHART, "--namespace", "shop", *arguments)
    assert rendered.returncode == 0, f"helm template: {rendered.stderr}"
    return rendered.stdout


def expect_refused(why, message, *arguments):
    rendered = helm("template", "hw", CHART, *arguments)
    assert rendered.returncode != 0 and message in rendered.stderr, f"{why}: {rendered.stderr}"


def expect_valid(file, rendered):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as manifest:
        manifest.write(rendered)
        manifest.flush()
        checked = subprocess.run(["kubernetes-validate", "--strict", "--quiet", manifest.name], capture_output=True, text=True)
    complaints = [
        line for line in (checked.stdout + checked.stderr).splitlines() if not any(f"kind {kind} " in line for kind in CUSTOM_KINDS)
    ]
    assert checked.returncode == 0 and not complaints, f"{file.name}: {complaints}"


def expect_confined(file, documents):
    """Every container is unprivileged and has a memory limit."""
    pods = [document["spec"]["template"]["spec"] for document in documents if document["kind"] in ("StatefulSet", "Job")]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        for container in pod["containers"] + pod.get("initContainers", []):
            security = container["securityContext"]
            confined = security["readOnlyRootFilesystem"] and security["capabilities"]["drop"] == ["ALL"]
            assert confined and not security["allowPrivilegeEscalation"], f"{file.name}: {container['name']}"
            assert container["resources"]["limits"]["memory"], f"{file.name}: {container['name']}"


def expect_accepted(file, documents, highwater):
    """The service accepts the configuration and every variable of the pod; the database does not exist."""
    config = next(d["data"] for d in documents if d["kind"] == "ConfigMap" and "highwater.toml" in d["data"])
    pod = next(d for d in documents if d["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    environment = {entry["name"]: entry.get("value", "1") for entry in pod["containers"][0]["env"]}
    assert environment["HIGHWATER_POSTGRES__SLOT"].endswith("_$(POD_INDEX)"), environment
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "highwater.toml").write_text(config["highwater.toml"])
        (Path(home) / "secret").write_text("host=/nowhere dbname=app")
        for name in environment:
            if name.endswith("_FILE"):
                environment[name] = f"{home}/secret"
        slot = environment["HIGHWATER_POSTGRES__SLOT"].replace("$(POD_INDEX)", environment["POD_INDEX"])
        environment |= {"HIGHWATER_CONFIG": f"{home}/highwater.toml", "HIGHWATER_POSTGRES__SLOT": slot}
        if "HIGHWATER_POSTGRES__URL" in environment:
            environment["HIGHWATER_POSTGRES__URL"] = "host=/nowhere dbname=app"
        checked = subprocess.run([highwater, "check"], env=environment, capture_output=True, text=True)
    # Exit code 2 is a configuration error, 1 a failed connection.
    assert checked.returncode == 1, f"{file.name}: {checked.returncode}: {checked.stderr}"


def expect_one_protocol(file, documents):
    """Probes and Prometheus use the scheme that the pods serve."""
    container = next(d for d in documents if d["kind"] == "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    named = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    files = [named[name] for name in named if name.startswith("HIGHWATER_HTTP__TLS_")]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert all(any(path.startswith(f"{mount}/") for mount in mounts) for path in files), f"{file.name}: {files}"
    schemes = {container[probe]["httpGet"]["scheme"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert schemes == {"HTTPS" if files else "HTTP"}, f"{file.name}: {schemes}"
    for monitor in (d for d in documents if d["kind"] == "ServiceMonitor"):
        assert monitor["spec"]["endpoints"][0].get("scheme", "http").upper() in schemes, file.name


def expect_unchanged(documents, promtool):
    """Rules and dashboards equal the files in grafana/, except for the prefix of runbook_url."""
    for document in documents:
        if document["kind"] == "PrometheusRule":
            written = yaml.safe_load((ROOT / "grafana/rules.yaml").read_text())
            rules = [rule for group in document["spec"]["groups"] for rule in group["rules"]]
            links = [rule["annotations"].pop("runbook_url") for rule in rules if "alert" in rule]
            assert all(link.startswith("https://docs.example/highwater/docs/src/operations/runbook.md#") for link in links), links
            for group in written["groups"]:
                for rule in group["rules"]:
                    rule.get("annotations", {}).pop("runbook_url", None)
            assert document["spec"] == written
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as rules_file:
                yaml.safe_dump(document["spec"], rules_file)
                subprocess.run([promtool, "check", "rules", rules_file.name], check=True, capture_output=True)
        if document["kind"] == "ConfigMap" and document["metadata"]["name"].endswith("-dashboards"):
            for name, text in document["data"].items():
                assert json.loads(text) == json.loads((ROOT / "grafana" / name).read_text()), name


main()
