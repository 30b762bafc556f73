"""Dask with certificates: without one, or with another authority's, a client is refused; the message names the keys."""

import time

import pytest

from pipeline.base.errors import OutOfReach, UserError
from pipeline.config.config import load_config
from pipeline.runtime.dask.cluster import open_executor, security
from pipeline.runtime.settings import Cluster
from tests.support.certificates import make_certificates


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def secured(files):
    """An executor on a cluster of one worker that requires certificates."""
    with open_executor(Cluster(scheduler="local", workers=1, **files)) as (executor, _):
        yield executor


def refused(settings):
    started = time.monotonic()
    with pytest.raises(UserError) as met, open_executor(settings):
        pass
    return met.value, time.monotonic() - started


def test_work_is_done_over_tls(secured, files):
    address = secured.describe().scheduler
    assert address.startswith("tls://127.0.0.1:")
    with open_executor(Cluster(scheduler=address, **files)) as (executor, _):
        (outcome,) = executor.run(abs, [-3], name="abs")
    assert outcome.result == 3


def test_a_client_without_certificate_is_refused_at_once(secured):
    error, seconds = refused(Cluster(scheduler=secured.describe().scheduler))
    assert "name the files in cluster.tls_ca_file, tls_cert and tls_key" in str(error)
    assert seconds < 5


def test_a_client_that_comes_without_encryption_is_refused_and_told_of_tls(secured, monkeypatch):
    monkeypatch.setattr("pipeline.runtime.dask.executor.CONNECT_TIMEOUT", "2s")
    error, _ = refused(Cluster(scheduler=secured.describe().scheduler.replace("tls://", "tcp://")))
    assert "If it asks for TLS, its address begins with tls://" in str(error)


def test_a_client_of_another_authority_is_refused(secured, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.runtime.dask.executor.CONNECT_TIMEOUT", "2s")
    others = make_certificates(tmp_path / "others")
    error, _ = refused(Cluster(scheduler=secured.describe().scheduler, **others))
    assert "do not accept each other's certificates" in str(error)
    assert not isinstance(error, OutOfReach)  # trying again does not help


def test_a_client_that_trusts_the_scheduler_but_is_not_trusted_is_refused(secured, files, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.runtime.dask.executor.CONNECT_TIMEOUT", "2s")
    others = make_certificates(tmp_path / "others") | {"tls_ca_file": files["tls_ca_file"]}
    error, _ = refused(Cluster(scheduler=secured.describe().scheduler, **others))
    assert "do not accept each other's certificates" in str(error)


def test_certificates_for_an_address_without_tls_are_a_mistake_that_is_told(files):
    error, _ = refused(Cluster(scheduler="tcp://127.0.0.1:1", **files))
    assert "begins with tls://" in str(error)


def test_the_three_keys_go_together(files):
    with pytest.raises(UserError, match=r"tls_ca_file, tls_cert, tls_key go together: only tls_cert given"):
        load_config(cluster__tls_cert=files["tls_cert"])


def test_files_that_cannot_be_used_are_named(files, tmp_path):
    with pytest.raises(UserError, match=r"cluster\.tls_key = .*nowhere\.pem is no file"):
        security(Cluster(**files | {"tls_key": tmp_path / "nowhere.pem"}))
    with pytest.raises(UserError, match=r"cannot be used together"):
        security(Cluster(**files | {"tls_key": files["tls_cert"]}))
