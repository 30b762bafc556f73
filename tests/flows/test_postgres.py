"""The deployments on a Prefect server that keeps its records in PostgreSQL, as on several machines."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import asyncpg
import pytest

from tests.support.prefect_service import given, started
from tests.support.processes import Process, free_port, wait_until
from tests.support.small_country import flow_country

PASSWORD = "of-the-test"


def programs():
    """Folder of PostgreSQL's programs, or None: Debian does not put them on the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(p) for p in [shutil.which("initdb")] if p]
    return found[-1].resolve().parent if found else None


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed (Debian: apt install postgresql)"),
]


def unprivileged():
    """The user that PostgreSQL runs as where this is root, whom it refuses."""
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture
def database():
    """A PostgreSQL server on 127.0.0.1 that asks for a password; its address for Prefect and for asyncpg."""
    with tempfile.TemporaryDirectory(prefix="sitscube-postgres-") as name:
        folder, port = Path(name), free_port()
        as_user = {}
        if os.geteuid() == 0:
            as_user = {"user": unprivileged()}
            shutil.chown(folder, unprivileged())
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        make = [programs() / "initdb", "-D", folder / "data", "-U", "prefect", "-A", "scram-sha-256"]
        subprocess.run([*make, "--pwfile", folder / "password"], check=True, capture_output=True, **as_user)
        serve = [programs() / "postgres", "-D", folder / "data", "-h", "127.0.0.1", "-p", str(port), "-k", folder]
        server = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_user)
        try:
            ready = [programs() / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
            wait_until(lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, "PostgreSQL")
            yield f"prefect:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # fast: SIGTERM would wait for clients
            try:
                server.wait(30)
            finally:
                server.kill()


async def completed(database):
    connection = await asyncpg.connect(f"postgresql://{database}")
    try:
        return await connection.fetchval("select count(*) from flow_run where state_type = 'COMPLETED'")
    finally:
        await connection.close()


def test_a_year_is_mapped_and_postgres_has_the_record(database, tmp_path):
    country = flow_country(tmp_path / "country")
    url = f"postgresql+asyncpg://{database}"
    with started(tmp_path, PREFECT_API_DATABASE_CONNECTION_URL=url) as service:
        run = service.run("annual_map/italy-annual", **given(country, tmp_path / "out", year=2018))
        service.wait_for(run, "COMPLETED")
        assert (tmp_path / "out" / "small" / "2018" / "run.json").exists()
        assert asyncio.run(completed(database)) == 1
        assert not list((tmp_path / "home").glob("*.db"))  # nothing is kept in SQLite
    assert all(isinstance(process, Process) and not process.alive for process in service.processes)
