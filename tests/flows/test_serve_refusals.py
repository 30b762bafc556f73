import socket

import pytest

from flows.serving import serve
from flows.serving.process import Process
from flows.serving.services import Ports, ServiceFolders, commands, environment, flow_workers, server
from pipeline.base.errors import UserError
from pipeline.base.progress import Silent


@pytest.fixture
def prefect_file(tmp_path):
    path = tmp_path / "prefect.yaml"
    path.write_text("deployments: []\n")
    return path


def test_without_deployments_nothing_is_started(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml is missing.*--prefect-file"):
        serve(tmp_path / "service", tmp_path / "nowhere.yaml", 1, Ports(), Silent())
    assert not (tmp_path / "service").exists()


@pytest.mark.parametrize(
    ("name", "option"), [("prefect", "--port"), ("scheduler", "--scheduler-port"), ("dashboard", "--dashboard-port")]
)
def test_a_port_that_is_taken_is_named_with_the_option_that_changes_it(tmp_path, prefect_file, name, option):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        free = {other: number for number, other in enumerate(("prefect", "scheduler", "dashboard"), 41_871)}
        with pytest.raises(UserError, match=rf"port {port} of 127.0.0.1 is taken.*{option}\."):
            serve(tmp_path / "service", prefect_file, 1, Ports(**(free | {name: port})), Silent())


def test_a_password_reaches_the_processes_by_the_environment_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "admin:secret")
    folders = ServiceFolders(tmp_path)
    assert environment(Ports(), folders)["PREFECT_API_AUTH_STRING"] == "admin:secret"
    processes = [server(Ports(), folders), *commands(Ports(), folders, tmp_path), *flow_workers(Ports(), folders)]
    assert all("secret" not in argument for process in processes for argument in process.arguments)


def test_a_process_ends_with_all_that_it_has_started(tmp_path):
    program = tmp_path / "stubborn.py"
    program.write_text(
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "heed = lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a child inherits what its parent ignores\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], preexec_fn=heed)\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    process = Process("stubborn", "stubborn", (), {"PYTHONPATH": str(tmp_path)}, tmp_path, grace=0.5)
    process.start()
    while not process.log.read_text().strip():
        assert process.alive, process.log.read_text()
    process.stop()
    assert not process.alive
    assert process.status == 0  # its child was asked to end, then it ended by itself
