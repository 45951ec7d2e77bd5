"""Static checks of compose.yaml, the Dockerfile, the systemd unit and the dashboards."""

import json, re, subprocess, tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def main():
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        expect_resolved(compose, name, service)
    for file in sorted((ROOT / "grafana").glob("*.json")):
        expect_readable(file, json.loads(file.read_text()))
    expect_copied_by_the_build()
    expect_good_unit(ROOT / "examples/highwater.service")
    print("compose.yaml, dashboards, Dockerfile and unit are valid")


def expect_resolved(compose, name, service):
    """Everything that a service refers to exists, and its ports are published on loopback only."""
    assert ("image" in service) != ("build" in service), f"{name}: one of image and build"
    for used in service.get("configs", []):
        assert used["source"] in compose["configs"], f"{name}: no config {used['source']}"
    for used in service.get("depends_on", {}):
        assert used in compose["services"], f"{name}: no service {used}"
        assert "healthcheck" in compose["services"][used], f"{used} has no health check"
    for volume in service.get("volumes", []):
        assert (ROOT / volume.split(":")[0]).exists(), f"{name}: no {volume}"
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), f"{name}: {port} is not limited to loopback"
    for config in compose["configs"].values():
        assert "$" not in config["content"], "compose would replace variables in it"


def expect_readable(file, dashboard):
    """Every panel has a title, a unit and a description; panels do not overlap."""
    places, ids = set(), set()
    for panel in dashboard["panels"]:
        where = f"{file.name}: {panel['title']}"
        assert panel["id"] not in ids, f"{where}: a second panel {panel['id']}"
        ids.add(panel["id"])
        cells = {(x, y) for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
                 for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])}
        assert max(cells)[0] < 24 and not places & cells, f"{where}: overlaps another, or is too far right"
        places |= cells
        if panel["type"] == "row":
            continue
        unit = panel["fieldConfig"]["defaults"].get("unit") or panel["options"].get("yAxis", {}).get("unit")
        assert panel["title"] and len(panel["description"]) > 20 and unit, f"{where}: title, description and unit"
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"]))) - {"__rate_interval"}
    assert used <= variables, f"{file.name}: no variables {used - variables}"
    linked = {link["url"] for link in dashboard["links"]}
    known = {f"/d/{json.loads(other.read_text())['uid']}" for other in file.parent.glob("*.json")}
    assert linked <= known, f"{file.name}: no dashboards {linked - known}"


def expect_copied_by_the_build():
    """The build context that .dockerignore allows holds every target of the manifest and every included file."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    read = ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version=1"]
    package = json.loads(subprocess.run(read, cwd=ROOT, check=True, capture_output=True).stdout)["packages"][0]
    # cargo rejects a manifest that names a missing file, whatever target is built.
    targets = {Path(target["src_path"]).relative_to(ROOT).parts[0] for target in package["targets"]}
    needed = targets - {"examples"} | {"Cargo.toml", "Cargo.lock"}
    assert needed <= let_through, f"the image is built without {needed - let_through}"
    sources = [file.read_text() for file in (ROOT / "src").rglob("*.rs")]
    included = {path for text in sources for path in re.findall(r'include_(?:str|bytes)!\("(\.\.[^"]+)"', text)}
    outside = {path.lstrip("./").split("/")[0] for path in included} - {path.name for path in (ROOT / "src").iterdir()}
    assert outside <= let_through, f"the image is built without {outside - let_through}"
    rust = re.search(r'rust-version = "([\d.]+)"', (ROOT / "Cargo.toml").read_text())[1]
    assert f"FROM rust:{rust}-" in (ROOT / "Dockerfile").read_text(), f"the image is not built by Rust {rust}"


def expect_good_unit(unit):
    with tempfile.TemporaryDirectory() as home:
        here = Path(home) / unit.name
        here.write_text(unit.read_text().replace("/usr/local/bin/highwater", "/bin/true"))
        checked = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True)
        assert checked.returncode == 0 and unit.name not in checked.stderr, checked.stderr
        exposed = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", here]
        checked = subprocess.run(exposed, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout


main()
