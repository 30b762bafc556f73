"""Files for several machines, checked for what they promise; no container is started.

There is no container engine and no cluster where these tests run. They look at structure: what may run as whom, with
what limits, on which ports, and whether every command and every name that files share exists.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from distributed.cli import dask_scheduler, dask_worker

from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
DASK = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}
SECRETS = re.compile("PASSWORD|TOKEN|AUTH|SECRET|KEY")


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


def pools():
    return {one["work_pool"]["name"] for one in yaml.safe_load((DEPLOY / "prefect.yaml").read_text())["deployments"]}


def resources():
    """Every Kubernetes resource of the manifests, as they are written."""
    for path in sorted((DEPLOY / "kubernetes").rglob("*.yaml")):
        for one in yaml.safe_load_all(path.read_text()):
            if one and "apiVersion" in one and one["kind"] != "Kustomization":
                yield one


def pods(node=None):
    """Every specification of a pod, wherever it stands."""
    for one in resources() if node is None else [node]:
        if isinstance(one, dict):
            if "containers" in one:
                yield one
            for value in one.values():
                yield from pods(value) if isinstance(value, dict) else ()


def containers():
    return [container for pod in pods() for container in pod["containers"]]


def commands(services):
    """What every container runs, as compose and Kubernetes write it."""
    found = [one["command"] for one in services.values() if "command" in one]
    return found + [one["command"] for one in containers() if "command" in one]


# ---- compose


def test_every_service_is_hardened_limited_and_not_root(services):
    for name, one in services.items():
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one["read_only"] is True, name
        assert int(one["user"].split(":")[0]) > 0, name
        limits = one["deploy"]["resources"]["limits"]
        assert limits["cpus"], name
        assert limits["memory"], name
        assert not one.get("privileged"), name


def test_every_service_says_whether_it_is_well_or_ends_by_itself(services):
    for name, one in services.items():
        check = one["healthcheck"]
        ends = check.get("disable")
        assert ends == (True if name == "deploy" else None)
        assert ends or check["test"][0] == "CMD", name
        if not ends and check["test"][1] == "python":
            assert (ROOT / check["test"][2]).is_file()


def test_ports_are_published_on_this_machine_alone(services):
    published = {port for one in services.values() for port in one.get("ports", ())}
    assert published == {"127.0.0.1:4200:4200", "127.0.0.1:8787:8787"}


def test_no_secret_stands_in_a_file(services):
    for name, one in services.items():
        for key, value in (one.get("environment") or {}).items():
            if SECRETS.search(key):
                assert value is None or re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), (name, key)
    for container in containers():
        for variable in container.get("env", ()):
            if SECRETS.search(variable["name"]):
                assert set(variable) == {"name", "valueFrom"}
                assert set(variable["valueFrom"]) == {"secretKeyRef"}
    assert not any(one["kind"] == "Secret" for one in resources())


def test_services_wait_for_what_they_need_and_volumes_and_networks_are_declared(services):
    whole = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for name, one in services.items():
        for other, about in one.get("depends_on", {}).items():
            assert other in services, name
            ends = services[other]["healthcheck"].get("disable")
            wanted = "service_completed_successfully" if ends else "service_healthy"
            assert about["condition"] == wanted, (name, other)
        assert {volume.split(":")[0] for volume in one.get("volumes", ())} <= set(whole["volumes"])
        assert set(one["networks"]) <= set(whole["networks"])
    assert whole["networks"]["database"]["internal"] is True
    assert services["postgres"]["networks"] == ["database"]


def test_one_image_serves_all_and_a_gpu_is_asked_for_by_a_profile(services):
    assert {one["image"] for name, one in services.items() if name != "postgres"} == {"sitscube"}
    gpu = services["dask-worker-gpu"]
    assert gpu["profiles"] == ["gpu"]
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert "GPU=3" in gpu["command"]
    assert not any(one.get("profiles") for name, one in services.items() if name != "dask-worker-gpu")


# ---- image


def test_the_image_runs_as_nobody_in_particular_and_copies_what_is_there():
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users == ["10001:10001"]
    assert {line.split()[1] for line in lines if line.startswith("FROM")} == {"python:3.11-slim"}
    for line in lines:
        if line.startswith("COPY") and "--from" not in line:
            assert all((ROOT / source).exists() for source in line.split()[1:-1]), line
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((ROOT / name).exists() for name in kept)
    assert {"constraints.txt", "pyproject.toml", "model", "pipeline", "flows", "deploy"} <= set(kept)


# ---- commands and names that files share


def test_every_dask_command_has_the_options_that_it_is_given(services):
    checked = 0
    for command in commands(services):
        if command[0] != "dask":
            continue
        known = {name for option in DASK[command[1]].params for name in (*option.opts, *option.secondary_opts)}
        given = {part.split("=")[0] for part in command[2:] if part.startswith("--")}
        assert given <= known, command
        checked += 1
    assert checked == 6


@pytest.mark.parametrize("words", [("server", "start"), ("worker", "start")])
def test_every_prefect_command_has_the_options_that_it_is_given(services, words):
    help_ = [sys.executable, "-m", "prefect", *words, "--help"]
    wide = {**os.environ, "COLUMNS": "300"}  # so that no name is cut
    shown = subprocess.run(help_, capture_output=True, text=True, check=True, env=wide).stdout
    matching = [one for one in commands(services) if tuple(one[:3]) == ("prefect", *words)]
    assert matching
    for command in matching:
        given = {part.split("=")[0] for part in command[3:] if part.startswith("--")}
        assert all(option in shown for option in given), command


def test_work_pools_are_those_of_the_deployments(services):
    workers = [" ".join(command) for command in commands(services) if command[:2] == ["prefect", "worker"]]
    served = {re.search(r"--pool[ =](\w+)", command)[1] for command in workers}
    assert served == pools()
    made = re.search(r"for pool in ([\w ]+);", (DEPLOY / "create_deployments.sh").read_text())[1].split()
    assert set(made) == pools()


def test_a_script_of_the_image_can_be_read_by_its_shell():
    subprocess.run(["sh", "-n", DEPLOY / "create_deployments.sh"], check=True)


# ---- Kubernetes


def test_every_pod_is_restricted_and_limited():
    found = list(pods())
    assert len(found) == 8
    for pod in found:
        about = pod["securityContext"]
        assert about["runAsNonRoot"] is True
        assert about["runAsUser"] > 0
        assert about["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert "hostNetwork" not in pod
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            assert {mount["name"] for mount in container["volumeMounts"]} <= {
                *(volume["name"] for volume in pod["volumes"]), "postgres",
            }  # fmt: skip
            if container["name"] != "deployments":  # which ends by itself
                assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)


def test_services_have_no_address_outside_the_cluster_and_select_pods_that_are_there():
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in resources() if "template" in one.get("spec", {})]
    for one in resources():
        if one["kind"] == "Service":
            assert one["spec"].get("type", "ClusterIP") == "ClusterIP"
            assert any(one["spec"]["selector"].items() <= of_pod.items() for of_pod in labels)
    assert not any(one["kind"] == "Ingress" for one in resources())


def test_by_default_no_pod_may_be_reached_or_reach_out():
    policies = {one["metadata"]["name"]: one["spec"] for one in resources() if one["kind"] == "NetworkPolicy"}
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("which", ["base", "gpu"])
def test_kustomize_puts_all_of_it_together(which):
    made = subprocess.run(
        ["kubectl", "kustomize", DEPLOY / "kubernetes" / which], capture_output=True, text=True, check=True
    ).stdout
    found = list(yaml.safe_load_all(made))
    kinds = {one["kind"] for one in found}
    assert {"DaskCluster", "StatefulSet", "Deployment", "Job", "NetworkPolicy", "PersistentVolumeClaim"} <= kinds
    assert ("DaskWorkerGroup" in kinds) == (which == "gpu")
    assert all(one["metadata"].get("namespace", "sitscube") == "sitscube" for one in found)
    images = set(re.findall(r'"image": "([^"]+)"', json.dumps(found)))
    assert images == {"sitscube:latest", "postgres:17-bookworm"}
