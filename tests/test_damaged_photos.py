"""Damaged, hostile or oversized bytes become what is left of a photo, or an error that a person understands."""

import struct
from collections import Counter

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from photo_files import (
    AVIF,
    FILES,
    HEIC,
    PHOTO,
    RED,
    cut_off,
    encoded,
    exif,
    ico,
    jpeg_of_scans,
    mutated_files,
    png,
    recorded_loads,
)
from PIL import Image

from seefood.errors import PhotoError
from seefood.photo import read_photo


@pytest.mark.parametrize("at_least", [None, 60])
@pytest.mark.parametrize(
    "options", [{}, {"mode": "L"}, {"mode": "CMYK"}, {"restart_marker_rows": 1}, {"exif": exif(3)}], ids=str
)
def test_a_jpeg_of_which_half_the_rows_are_there_gives_those(options, at_least):
    content, whole = cut_off(0.6, **options)
    photo, full = read_photo(content, at_least=at_least), read_photo(whole, at_least=at_least)
    assert photo.width == full.width
    assert 0.5 * full.height <= photo.height <= 0.6 * full.height + 16
    sound = photo.height - 17  # the last row of blocks is there in part
    upside_down = "exif" in options
    there = slice(-sound, None) if upside_down else slice(0, sound)
    np.testing.assert_array_equal(np.asarray(photo)[there], np.asarray(full)[there])


def test_a_progressive_jpeg_that_is_cut_off_after_its_first_pass_has_all_its_rows():
    content, whole = cut_off(0.6, progressive=True)
    assert read_photo(content).size == read_photo(whole).size


def test_a_jpeg_may_be_followed_by_a_video():
    video = np.random.default_rng(0).bytes(10_000_000)
    assert video.count(b"\xff\xda") > 100  # it looks like that many scans, to one who counts only the two bytes
    assert read_photo(FILES["JPEG"] + video) == read_photo(FILES["JPEG"])


def test_a_photo_that_lacks_its_last_bytes_keeps_its_white_lower_half():
    photo = Image.new("RGB", (320, 240), "white")
    photo.paste(PHOTO)
    assert read_photo(encoded(photo, "JPEG")[:-3]).size == (320, 240)


SMALL_COPY = r"Send a smaller copy\."
SAVE_AGAIN = r"Save it again and retry\."
SEND_A_PHOTO = r"Send a JPEG, PNG or WebP photo\."
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'
UNREADABLE = {
    "note.txt": (b"no photo at all", r"not an image that can be read\. " + SEND_A_PHOTO),
    "page.html": (b"<!DOCTYPE html><html>" + SVG + b"</html>", r"not an image that can be read\. " + SEND_A_PHOTO),
    "menu.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", r"a PDF, not a photo\. " + SEND_A_PHOTO),
    "logo.svg": (SVG, r"an SVG drawing, not a photo\. " + SEND_A_PHOTO),
    "bom.svg": (b"\xef\xbb\xbf<?xml version='1.0'?>\n" + SVG, r"an SVG drawing, not a photo\. " + SEND_A_PHOTO),
    "empty.jpg": (b"", r"the file is empty\. Choose another photo\."),
    "header.png": (png(8, 8)[:20], r"damaged, .*\. " + SAVE_AGAIN),
    "half.png": (encoded(PHOTO, "PNG")[:-40], r"damaged, .*\. " + SAVE_AGAIN),
    "half.heic": (HEIC[:-40], r"damaged, .*\. " + SAVE_AGAIN),
    "half.avif": (AVIF[:-40], r"damaged, .*\. " + SAVE_AGAIN),
    "third.jpg": (cut_off(0.33)[0], r"damaged, it ends after [34]\d% of its rows\. Send the whole file\."),
    "start.jpg": (cut_off(0)[0], r"damaged, it ends after [0-7]% of its rows\. Send the whole file\."),
    "scans.jpg": (jpeg_of_scans(500), r"damaged, a JPEG of more than 100 scans\. " + SAVE_AGAIN),
    "missing.jpg": (None, r"cannot be opened .*\. Check the path\."),
    "heavy.jpg": (bytes(3_000_000), r"3\.0 MB is over the limit of 2\.0 MB \(SEEFOOD_MAX_BYTES\)\. " + SMALL_COPY),
    "bomb.png": (png(20_000, 20_000), r"400 megapixels is over the limit of 5 \(SEEFOOD_MAX_PIXELS\)\. " + SMALL_COPY),
    "large.png": (png(2000, 2600), r"5\.2 megapixels is over the limit of 5 \(SEEFOOD_MAX_PIXELS\)\. " + SMALL_COPY),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_photo_that_cannot_be_read_is_refused_with_its_name_the_reason_and_the_remedy(name, tmp_path, environment):
    environment(SEEFOOD_MAX_BYTES=2_000_000, SEEFOOD_MAX_PIXELS=5_000_000)
    content, sentence = UNREADABLE[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PhotoError, match=f"^{name}: {sentence}$") as refusal:
        read_photo(path)
    assert str(tmp_path) not in str(refusal.value)


@pytest.mark.parametrize("source", ["", "a\0b.jpg"])
def test_a_path_that_cannot_be_one_is_refused_like_a_missing_file(source):
    with pytest.raises(PhotoError, match=r"cannot be opened .*\. Check the path\."):
        read_photo(source)


LARGE = Image.new("RGB", (300, 300))
LARGE_FILES = {kind: encoded(LARGE, kind) for kind in ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"]}
LARGE_FILES["PNG within an icon"] = ico(png(300, 300))


@pytest.mark.filterwarnings("ignore:Image was not the expected size")
@pytest.mark.parametrize("kind", LARGE_FILES)
def test_nothing_over_the_limit_is_decoded_whatever_its_header_declares(kind, environment, monkeypatch):
    content = LARGE_FILES[kind]
    decoded = recorded_loads(monkeypatch, [content])
    if "icon" not in kind:
        read_photo(content)
        assert decoded.pop() == (300, 300)  # so that it would show
    decoded.clear()
    environment(SEEFOOD_MAX_PIXELS=10_000)
    with pytest.raises(PhotoError, match="is over the limit" if "icon" not in kind else "not an image"):
        read_photo(content, at_least=10)
    assert not decoded


def test_a_heic_that_decodes_to_more_than_its_header_declares_is_refused():
    content = bytearray(encoded(Image.new("RGB", (400, 300)), "HEIF"))
    place = content.index(b"ispe") + 8
    assert content[place : place + 8] == struct.pack(">II", 400, 300)
    content[place : place + 8] = struct.pack(">II", 16, 16)
    with pytest.raises(PhotoError, match="damaged"):
        read_photo(bytes(content))


def test_a_photo_at_the_limits_is_read(environment):
    content = png(100, 100)
    environment(SEEFOOD_MAX_BYTES=len(content), SEEFOOD_MAX_PIXELS=10_000)
    assert read_photo(content).size == (100, 100)


def test_the_limits_let_a_photo_of_twelve_megapixels_pass():
    assert read_photo(encoded(Image.new("RGB", (4032, 3024), RED), "JPEG"), at_least=512).size == (1008, 756)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damage that Pillow can live with
def test_whatever_the_bytes_they_give_a_photo_or_an_error_of_ours(environment):
    environment(SEEFOOD_MAX_PIXELS=100_000)  # a changed header may declare any size
    outcomes = Counter()

    @hypothesis.settings(max_examples=1000, deadline=None, derandomize=True, database=None)
    @hypothesis.given(st.one_of(st.binary(max_size=100), mutated_files(), mutated_files()), st.sampled_from([None, 8]))
    def holds(content, at_least):
        try:
            photo = read_photo(content, at_least=at_least)
        except PhotoError as error:
            sentence = str(error)
            outcomes["refused"] += 1
        else:
            sentence = ""
            assert photo.mode == "RGB"
            assert 0 < photo.width * photo.height <= 100_000
            outcomes["read"] += 1
        assert not sentence or sentence.startswith("the photo: ")
        assert "/" not in sentence

    holds()
    assert outcomes.total() >= 500
    assert min(outcomes["read"], outcomes["refused"]) >= 100, outcomes
