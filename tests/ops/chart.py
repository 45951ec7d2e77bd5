"""Renders the chart with each of its ci/*.yaml, and looks at what comes out.

    python3 tests/ops/chart.py HIGHWATER PROMTOOL

Needs `helm` and `kubernetes-validate` on the path.
"""

import json, subprocess, sys, tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/highwater"
# What only a cluster with the Prometheus operator knows, and the validator does not.
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
        expect_as_written(documents, promtool)
        expect_one_protocol(file, documents)
    refused("does not say where the database is", "postgres.urlKey")
    refused("has a misspelled value", "replica", "--set", "postgres.url=postgres://db/app,replica=2")
    print(f"{len(values)} sets of values are fine")


def helm(*arguments):
    return subprocess.run(["helm", *map(str, arguments)], capture_output=True, text=True)


def render(*arguments):
    linted = helm("lint", "--strict", CHART, *arguments)
    assert linted.returncode == 0, f"helm lint: {linted.stdout}{linted.stderr}"
    rendered = helm("template", "hw", CHART, "--namespace", "shop", *arguments)
    assert rendered.returncode == 0, f"helm template: {rendered.stderr}"
    return rendered.stdout


def refused(why, said, *arguments):
    rendered = helm("template", "hw", CHART, *arguments)
    assert rendered.returncode != 0 and said in rendered.stderr, f"values whose author {why}: {rendered.stderr}"


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
    """No container may do more than it must, or take what it wants."""
    pods = [document["spec"]["template"]["spec"] for document in documents if document["kind"] in ("StatefulSet", "Job")]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        for container in pod["containers"] + pod.get("initContainers", []):
            security = container["securityContext"]
            confined = security["readOnlyRootFilesystem"] and security["capabilities"]["drop"] == ["ALL"]
            assert confined and not security["allowPrivilegeEscalation"], f"{file.name}: {container['name']}"
            assert container["resources"]["limits"]["memory"], f"{file.name}: {container['name']}"


def expect_accepted(file, documents, highwater):
    """The service takes the configuration, every variable of the pod included; there is no such database."""
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
    # 2 is bad configuration, 1 that nothing listens there.
    assert checked.returncode == 1, f"{file.name}: {checked.returncode}: {checked.stderr}"


def expect_one_protocol(file, documents):
    """Probes and Prometheus ask in the way in which the pods answer."""
    container = next(d for d in documents if d["kind"] == "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    named = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    files = [named[name] for name in named if name.startswith("HIGHWATER_HTTP__TLS_")]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert all(any(path.startswith(f"{mount}/") for mount in mounts) for path in files), f"{file.name}: {files}"
    schemes = {container[probe]["httpGet"]["scheme"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert schemes == {"HTTPS" if files else "HTTP"}, f"{file.name}: {schemes}"
    for monitor in (d for d in documents if d["kind"] == "ServiceMonitor"):
        assert monitor["spec"]["endpoints"][0].get("scheme", "http").upper() in schemes, file.name


def expect_as_written(documents, promtool):
    """Rules and dashboards come out as they are in grafana/, but for the place of the runbook."""
    for document in documents:
        if document["kind"] == "PrometheusRule":
            written = yaml.safe_load((ROOT / "grafana/rules.yaml").read_text())
            rules = [rule for group in document["spec"]["groups"] for rule in group["rules"]]
            links = [rule["annotations"].pop("runbook_url") for rule in rules if "alert" in rule]
            assert all(link.startswith("https://docs.example/highwater/README.md#") for link in links), links
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
