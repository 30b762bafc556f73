from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.raster.names import Named, NamePattern


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def found(folder, pattern, like=None):
    return {path.relative_to(folder).as_posix(): named for path, named in NamePattern(pattern).find(folder, like)}


@pytest.mark.parametrize(
    ("pattern", "name", "day", "place"),
    [
        (
            "MOD15A2H.061_Fpar_500m_doy%Y%j_aid*.tif",
            "MOD15A2H.061_Fpar_500m_doy2020366_aid0001.tif",
            "2020-12-31",
            None,
        ),
        (
            "c_gls_FAPAR300*_%Y%m%d0000_GLOBE_*.nc",
            "c_gls_FAPAR300-RT6_202002290000_GLOBE_PROBAV_V1.0.1.nc",
            "2020-02-29",
            None,
        ),
        ("S2_{place}_%Y%m%d_*.tif", "S2_T32TQQ_20180511_median.tif", "2018-05-11", "T32TQQ"),
        ("S2_{place}_%Y%m%d_*.tif", "S2_T32_TQQ_20180511_a_b.tif", "2018-05-11", "T32_TQQ"),
        ("ndvi-%Y-%m.tif", "ndvi-2018-05.tif", "2018-05-01", None),
        ("**/{place}/%Y/%Y%j.tif", "a/b/north/2018/2018001.tif", "2018-01-01", "north"),
        ("**/%Y%j.tif", "2018001.tif", "2018-01-01", None),
        ("100%%_%Y%j[a].ti?", "100%_2018001[a].tif", "2018-01-01", None),
    ],
)
def test_names_say_date_and_place(pattern, name, day, place):
    day = date.fromisoformat(day)
    assert NamePattern(pattern).match(name) == Named(day.year, day, place)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("a_%Y%j.tif", "a_2018366.tif"),  # 2018 has 365 days
        ("a_%Y%j.tif", "a_2018000.tif"),
        ("a_%Y%m%d.tif", "a_20180230.tif"),
        ("a_%Y%m%d.tif", "a_2018023.tif"),
        ("a_%Y%j.tif", "a_2018001.tif.aux.xml"),
        ("a_%Y%j.tif", "b/a_2018001.tif"),
        ("a.*_%Y%j.tif", "aXb_2018001.tif"),  # a dot is a dot
        ("%Y/%Y%j.tif", "2017/2018001.tif"),  # a code that occurs twice says the same twice
        ("{place}/{place}_%Y%j.tif", "north/south_2018001.tif"),
    ],
)
def test_names_with_other_text_or_no_real_date_do_not_fit(pattern, name):
    assert NamePattern(pattern).match(name) is None


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("a_%m%d.tif", "make no date"),
        ("a_%Y%d.tif", "make no date"),
        ("a_%Y%m%j.tif", "make no date"),
        ("a_%j.tif", "make no date"),
        ("a_%y%j.tif", "the codes are"),
        ("a_%", "the codes are"),
        ("a_{tile}_%Y%j.tif", "only {place}"),
        ("/data/%Y%j.tif", "leads out"),
        ("../%Y%j.tif", "leads out"),
        ("a**/%Y%j.tif", "whole folders"),
        ("", "no pattern"),
    ],
)
def test_patterns_that_make_no_sense_are_refused(pattern, complaint):
    with pytest.raises(ValueError, match=complaint):
        NamePattern(pattern)


def test_a_year_alone_leaves_the_dates_to_the_files():
    pattern = NamePattern("ndvi_%Y.nc")
    assert not pattern.dated
    assert pattern.match("ndvi_2018.nc") == Named(2018, None, None)
    assert NamePattern("ndvi_*.nc").match("ndvi_x.nc") == Named()


def test_files_are_found_in_subfolders_and_hidden_ones_are_left_alone(tmp_path):
    touch(tmp_path, "a_2018009.tif", "x/y/a_2018001.tif", "x/.a_2018017.tif", ".a_2018025.tif", "b_2018001.tif")
    (tmp_path / "a_2018033.tif").mkdir()
    assert list(found(tmp_path, "**/*a_%Y%j.tif")) == ["a_2018009.tif", "x/y/a_2018001.tif"]


def test_companions_are_found_by_year_date_and_place(tmp_path):
    days = ("2018001", "2018009", "2019001")
    touch(tmp_path, *(f"q_{place}_{day}.tif" for place in ("n", "s", "[n]*") for day in days))
    pattern = "q_{place}_%Y%j.tif"
    assert len(found(tmp_path, pattern)) == 9
    assert len(found(tmp_path, pattern, Named(2018))) == 6
    assert list(found(tmp_path, pattern, Named(2018, date(2018, 1, 9), "n"))) == ["q_n_2018009.tif"]
    assert list(found(tmp_path, pattern, Named(2018, date(2018, 1, 9), "[n]*"))) == ["q_[n]*_2018009.tif"]
    assert list(found(tmp_path, "q_n_%Y%j.tif", Named(2018, date(2018, 1, 9), "s"))) == ["q_n_2018009.tif"]


@given(
    day=st.dates(date(1981, 1, 1), date(2100, 12, 31)),
    place=st.text("abcT1_-.", min_size=1, max_size=6).filter(lambda text: not text.startswith(".")),
    form=st.sampled_from(["{place}_%Y%m%d.tif", "x%Y%j.{place}.nc", "%Y/%j/{place}", "{place}/%Y-%m-%d_*"]),
)
def test_a_name_made_from_a_pattern_says_what_it_was_made_from(day, place, form):
    name = day.strftime(form.replace("{place}", place.replace("%", "%%"))).replace("*", "any")
    named = NamePattern(form).match(name)
    assert named is not None
    assert (named.year, named.day) == (day.year, day)
    assert named.place == place


@given(number=st.integers(1, 366), year=st.integers(1981, 2100))
def test_days_of_the_year_are_counted_from_its_first(number, year):
    named = NamePattern("%Y%j").match(f"{year}{number:03d}")
    day = date(year, 1, 1) + timedelta(days=number - 1)
    assert (named and named.day) == (day if day.year == year else None)
