import json
from datetime import date

import pytest
from shapely.geometry import box

from pipeline.base.calendar import DAYS_OF_YEAR
from tests.support.downloads import NAMES, OTHER_TILE, Listener, config_for, failure, fetch, files_in
from tests.support.earthdata_service import answers, exact, granule_bytes, name_of, rounded, whole

# --- what is fetched


def test_all_granules_of_the_year_arrive_as_they_are(tmp_path, service):
    config, listener = config_for(tmp_path), Listener()
    result = fetch(config, listener)
    assert files_in(config) == service.granules
    assert result.fresh
    assert result.outputs == (config.granules,)
    missing = [f"A2018{day:03d} h18v04" for day in DAYS_OF_YEAR[3:]]
    size = sum(map(len, service.granules.values()))
    assert result.facts == {
        "product": "VNP15A2H.002", "found": 3, "kept": 0, "fetched": 3, "bytes": size, "missing": missing
    }  # fmt: skip
    assert json.loads(json.dumps(result.facts)) == result.facts
    assert listener.totals["download"] == 3
    assert sorted(listener.notes["download"]) == list(NAMES)
    assert listener.messages == [
        "43 of 46 granules are not in the catalogue of VNP15A2H.002 and are left as gaps: "
        + ", ".join(missing[:10])
        + ", and 33 more"
    ]


def test_of_a_running_year_only_what_is_due_is_missing(tmp_path, service):
    """The composites of 1, 9 and 17 January exist; those that ended less than 30 days ago are still expected."""
    soon, listener = config_for(tmp_path, ingest__as_of=date(2018, 2, 10)), Listener()
    assert fetch(soon, listener).facts["missing"] == []
    assert listener.messages == []
    later = config_for(tmp_path, ingest__as_of=date(2018, 3, 12))  # 30 days after 10 February
    assert fetch(later).facts["missing"] == ["A2018025 h18v04", "A2018033 h18v04"]


def test_the_folder_that_the_configuration_names_is_the_target(tmp_path, service):
    config = config_for(tmp_path, download__enabled=False, ingest__granules=tmp_path / "mine")
    fetch(config)
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == list(NAMES)


def test_every_tile_that_the_region_touches_is_asked_for_and_no_other(tmp_path, service, contents):
    """At 42 N the border of h18v04 and h19v04 is at 13.46 E."""
    service.granules[OTHER_TILE] = contents[OTHER_TILE]
    service.granules[name_of(tile="h17v04")] = b"never asked for"
    config = config_for(tmp_path, box(13.3, 41.9, 13.6, 42.1))
    result = fetch(config)
    assert sorted(files_in(config)) == sorted((*NAMES, OTHER_TILE))
    assert "A2018001 h19v04" not in result.facts["missing"]
    assert "A2018009 h19v04" in result.facts["missing"]
    assert len(result.facts["missing"]) == 2 * 46 - 4
    patterns = {question["readable_granule_name"][0] for question in service.questions}
    assert patterns == {"VNP15A2H.A2018*.h18v04.*", "VNP15A2H.A2018*.h19v04.*"}


@pytest.mark.parametrize(
    "stranger",
    [
        name_of(year=2017, day=361),
        name_of(year=2019, day=1),
        name_of(day=25, tile="h19v04"),
        name_of(day=25, version="001"),
        name_of(day=25, product="VJ115A2H"),
        name_of(day=26),
        "BROWSE." + name_of(day=25),
    ],
)
def test_what_the_names_say_decides_not_the_catalogue(tmp_path, service, stranger):
    service.granules[stranger], service.traps = b"a trap", (stranger,)
    config = config_for(tmp_path)
    assert fetch(config).facts["found"] == 3
    assert sorted(files_in(config)) == list(NAMES)


def test_product_and_version_come_from_the_configuration(tmp_path, service):
    twin = name_of(product="VJ115A2H", version="001")
    service.granules[twin] = granule_bytes(tmp_path, twin)
    config = config_for(tmp_path, download__product="VJ115A2H", download__version="001")
    assert fetch(config).facts["product"] == "VJ115A2H.001"
    assert list(files_in(config)) == [twin]
    assert service.questions[0]["short_name"] == ["VJ115A2H"]
    assert service.questions[0]["version"] == ["001"]


def test_the_newest_production_is_taken_and_older_ones_in_the_folder_stay(tmp_path, service, contents):
    newer = name_of(produced="2024002030405")
    service.granules[newer] = contents[NAMES[0]]
    config = config_for(tmp_path)
    config.granules.mkdir(parents=True)
    (config.granules / NAMES[0]).write_bytes(contents[NAMES[0]])
    assert fetch(config).facts["fetched"] == 3
    assert service.asked[NAMES[0]] == 0
    assert sorted(files_in(config)) == sorted((*NAMES, newer))


def test_a_year_of_which_the_catalogue_has_nothing_is_an_error(tmp_path, service):
    service.granules.clear()
    message = failure(config_for(tmp_path))
    assert "no granule of VNP15A2H.002 in 2018 for h18v04" in message
    assert "--year" in message
    assert not (tmp_path / "out").exists()


def test_nothing_is_put_among_simulated_granules(tmp_path, service):
    assert "download.enabled" in failure(config_for(tmp_path, download__enabled=False))
    assert not service.questions


# --- resuming


def test_a_second_run_fetches_nothing(tmp_path, service):
    config, listener = config_for(tmp_path), Listener()
    fetch(config)
    before = service.fetched
    result = fetch(config, listener)
    assert service.fetched == before
    assert (result.fresh, result.facts["kept"], result.facts["fetched"], result.facts["bytes"]) == (False, 3, 0, 0)
    assert listener.totals["download"] == len(listener.notes["download"]) == 3


@pytest.mark.parametrize("describe", [exact, rounded])
def test_a_damaged_file_in_the_folder_is_fetched_again(tmp_path, service, describe):
    service.describe = describe
    config, listener = config_for(tmp_path), Listener()
    fetch(config)
    (config.granules / NAMES[1]).write_bytes(service.granules[NAMES[1]][:5000])
    service.asked.clear()
    result = fetch(config, listener)
    assert dict(service.asked) == {NAMES[1]: 1}
    assert (result.facts["kept"], result.facts["fetched"]) == (2, 1)
    assert files_in(config) == service.granules
    assert any(NAMES[1] in message and "fetched again" in message for message in listener.messages)


def test_a_file_of_the_right_size_with_another_content_is_fetched_again(tmp_path, service):
    config = config_for(tmp_path)
    fetch(config)
    altered = bytearray(service.granules[NAMES[0]])
    altered[-1] ^= 1
    (config.granules / NAMES[0]).write_bytes(altered)
    assert fetch(config).facts["fetched"] == 1
    assert files_in(config) == service.granules


# --- arrival


def wrong_tile(contents):
    return whole(contents[OTHER_TILE])


def web_page(contents):
    return 200, {"Content-Type": "text/html"}, b"<html>We are being maintained.</html>"


def cut_short(contents):
    return 200, {"Content-Length": str(len(contents[NAMES[0]]))}, contents[NAMES[0]][:40_000]


def cut_short_without_length(contents):
    return 200, {}, contents[NAMES[0]][:40_000]


def one_bit_wrong(contents):
    content = bytearray(contents[NAMES[0]])
    content[-1] ^= 1
    return whole(bytes(content))


BAD_ARRIVALS = [
    (wrong_tile, rounded, "h18v04"),
    (web_page, rounded, "no HDF5"),
    (web_page, exact, "37 bytes, the catalogue says"),
    (cut_short, exact, "broke off"),
    (cut_short_without_length, rounded, "truncated"),
    (one_bit_wrong, exact, "sha256"),
    (one_bit_wrong, lambda *file: exact(*file, algorithm="MD5"), "md5"),
]


@pytest.mark.parametrize(("arrival", "describe", "reason"), BAD_ARRIVALS)
def test_a_bad_arrival_is_fetched_again(tmp_path, service, contents, arrival, describe, reason):
    service.describe = describe
    service.faults[NAMES[0]] = answers(arrival(contents))
    pauses: list[float] = []
    config = config_for(tmp_path)
    assert fetch(config, pauses=pauses).facts["fetched"] == 3
    assert service.asked == {NAMES[0]: 2, NAMES[1]: 1, NAMES[2]: 1}
    assert len(pauses) == 1
    assert files_in(config) == service.granules


@pytest.mark.parametrize(("arrival", "describe", "reason"), BAD_ARRIVALS)
def test_what_never_arrives_whole_is_named_and_stops_no_other(tmp_path, service, contents, arrival, describe, reason):
    service.describe = describe
    service.faults[NAMES[0]] = answers(*[arrival(contents)] * 3)
    config = config_for(tmp_path, download__attempts=3)
    message = failure(config)
    assert f"1 of 3 granules could not be fetched, the others are in {config.granules}" in message
    assert f"  {NAMES[0]}: " in message
    assert message.count(NAMES[0]) == 1
    assert reason in message
    assert service.asked[NAMES[0]] == 3
    assert sorted(files_in(config)) == list(NAMES[1:])


def test_a_file_that_the_archive_does_not_have_is_not_asked_for_again(tmp_path, service):
    service.faults[NAMES[2]] = answers((404, {}, b"no such key"))
    config = config_for(tmp_path)
    assert f"  {NAMES[2]}: the archive (data.lpdaac.earthdatacloud.nasa.gov) answers HTTP 404" in failure(config)
    assert service.asked[NAMES[2]] == 1
    facts = fetch(config).facts
    assert (facts["kept"], facts["fetched"], facts["bytes"]) == (2, 1, len(service.granules[NAMES[2]]))


def test_of_many_failures_ten_are_named_and_the_others_counted(tmp_path, service):
    names = [name_of(day=day) for day in DAYS_OF_YEAR[:12]]
    service.granules = dict.fromkeys(names, b"not looked at")
    service.faults = {name: answers((404, {}, b"")) for name in names}
    message = failure(config_for(tmp_path))
    assert sum(name in message for name in names) == 10
    assert "12 of 12" in message
    assert "and 2 more" in message
