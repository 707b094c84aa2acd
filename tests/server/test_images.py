from __future__ import annotations

import base64
import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from reference_engine import EngineConfig, RequestError
from reference_engine.server.images import FORMATS, Pictures
from reference_engine.server.limits import Limits

Uri = Callable[..., str]
LIMIT = 1_000_000


def picture(width: int = 40, height: int = 30) -> Image.Image:
    image = Image.new("RGB", (width, height), (200, 30, 60))
    image.putpixel((0, 0), (1, 2, 3))
    return image


def read_image(source: str, *, field: str, max_pixels: int) -> Image.Image:
    return Pictures(EngineConfig(max_image_pixels=max_pixels)).read(source, field)


def refusal(source: str, limit: int = LIMIT) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read_image(source, field="image_data[4]", max_pixels=limit)
    assert caught.value.field == "image_data[4]"
    return caught.value


def png_header(width: int, height: int) -> str:
    """A PNG that claims a size and holds no pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    body = zlib.compress(b"\0" * 10)
    data += struct.pack(">I", len(body)) + b"IDAT" + body + struct.pack(">I", zlib.crc32(b"IDAT" + body))
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("kind", ["png", "webp", "gif", "bmp", "tiff", "jpeg"])
def test_a_data_uri_and_bare_base64_give_the_same_picture(uri: Uri, kind: str) -> None:
    options = {"lossless": True} if kind == "webp" else {}
    source = uri(picture(), kind, **options)
    whole, bare = (read_image(s, field="f", max_pixels=LIMIT) for s in (source, source.partition(",")[2]))
    assert whole.mode == "RGB"
    assert whole.size == (40, 30)
    assert whole.tobytes() == bare.tobytes()
    if kind != "jpeg":
        assert whole.tobytes() == picture().tobytes()


def test_orientation_is_applied_and_any_mode_becomes_rgb(uri: Uri) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read_image(uri(picture(), "png", exif=exif), field="f", max_pixels=LIMIT)
    assert turned.size == (30, 40)
    assert turned.getpixel((29, 0)) == (1, 2, 3)
    for mode in ("L", "RGBA", "P", "1", "I;16", "CMYK"):
        image = picture().convert("L").convert(mode) if mode == "I;16" else picture().convert(mode)
        kind = "tiff" if mode in ("CMYK", "I;16") else "png"
        assert read_image(uri(image, kind), field="f", max_pixels=LIMIT).mode == "RGB"


@pytest.mark.parametrize("source", ["http://example.com/cat.png", "HTTPS://example.com/a", "ftp://x/y", "s3://b/k"])
def test_urls_are_not_fetched(source: str) -> None:
    error = refusal(source)
    assert error.status == 400
    assert "URLs are not fetched; send a data URI or base64" in error.message


@pytest.mark.parametrize("name", ["cat.png", "dir/cat.jpeg", "./cat", "../cat.png", "~/cat.png", "C:\\cat.png"])
def test_names_of_files_are_not_opened(name: str) -> None:
    assert "files are not opened" in refusal(name).message


def test_a_file_that_exists_is_not_opened(tmp_path: Path) -> None:
    picture().save(tmp_path / "cat.png")
    for source in (str(tmp_path / "cat.png"), f"file://{tmp_path}/cat.png"):
        assert "files are not opened" in refusal(source).message


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", "0 bytes are not an image"),
        ("data:image/png;base64,", "0 bytes are not an image"),
        ("data:image/png,rawtext", "not base64"),
        ("data:text/plain;base64,aGVsbG8=", "5 bytes are not an image"),
        ("this is no picture!", "not base64"),
        (base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode(), "are not an image"),
        ("blob:abc", "not a scheme"),
    ],
)
def test_unreadable_sources_are_named(source: str, says: str) -> None:
    error = refusal(source)
    assert error.status == 400
    assert says in error.message


@pytest.mark.parametrize("kind", ["png", "webp", "gif", "bmp", "tiff", "jpeg"])
def test_every_cut_of_a_file_is_refused_or_read(uri: Uri, kind: str) -> None:
    data = base64.b64decode(uri(picture(), kind).partition(",")[2])
    refused = 0
    for size in range(0, len(data), max(1, len(data) // 60)):
        try:
            read_image(base64.b64encode(data[:size]).decode(), field="f", max_pixels=LIMIT)
        except RequestError as error:
            refused += error.status == 400
    assert refused >= 10


def test_formats_that_start_other_programs_are_not_read() -> None:
    assert "EPS" not in FORMATS
    buffer = io.BytesIO()
    picture().save(buffer, "eps")
    assert "are not an image of PNG" in refusal(base64.b64encode(buffer.getvalue()).decode()).message


@pytest.mark.parametrize(("width", "height"), [(2000, 501), (20_000, 20_000), (60_000, 60_000)])
def test_size_is_judged_before_pixels_are_decoded(width: int, height: int) -> None:
    began = time.process_time()
    error = refusal(png_header(width, height))
    assert error.status == 413
    assert str(LIMIT) in error.message
    assert time.process_time() - began < 0.5


def test_the_limit_itself_is_allowed(uri: Uri) -> None:
    assert read_image(uri(picture(40, 30)), field="f", max_pixels=1200).size == (40, 30)
    assert refusal(uri(picture(40, 30)), limit=1199).status == 413


def test_the_pictures_of_a_call_have_so_many_pixels_together(uri: Uri) -> None:
    pictures = Pictures(EngineConfig(), Limits(max_megapixels=1))
    pictures.read(uri(Image.new("1", (1000, 600))), "a")
    with pytest.raises(RequestError, match=r"^b: the pictures of this call have more than 1000000 pixels") as caught:
        pictures.read(uri(Image.new("1", (1000, 401))), "b")
    assert caught.value.status == 413
    assert pictures.read(uri(Image.new("1", (1000, 400))), "c").size == (1000, 400)


def test_the_bytes_of_an_image_are_counted(uri: Uri) -> None:
    pictures = Pictures(EngineConfig(), Limits(max_image_mb=1))
    for size in (2**20, 2**21):
        with pytest.raises(RequestError) as caught:
            pictures.read(base64.b64encode(bytes(size + 1)).decode(), "f")
        assert (caught.value.status, caught.value.message) == (413, "more than 1048576 bytes")
