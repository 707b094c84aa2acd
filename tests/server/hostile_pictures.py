"""Files that are hardly pictures, by name: what a client may send in place of one. Each is made here, byte by byte."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

ALLOWED = ("png", "jpeg", "webp", "gif", "bmp", "tiff")
OTHERS = ("eps", "ppm", "ico", "pcx", "tga", "sgi", "pdf", "msp", "spider", "dds", "mpo", "jpeg2000", "avif")
HUGE = 60_000


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(width: int = 56, height: int = 28, mode: str = "RGB") -> Image.Image:
    colours = Image.merge("RGB", [Image.linear_gradient("L").resize((width, height))] * 3)
    colours.putpixel((0, 0), (200, 30, 60))
    return colours.convert("L").convert(mode) if mode in ("I;16", "I", "F") else colours.convert(mode)


def pictures() -> Iterator[tuple[str, bytes]]:
    for kind in ALLOWED:
        for name, data in _damaged(kind):
            yield f"{kind} {name}", data
    for kind in OTHERS:
        yield f"format {kind}", saved(plain(mode="1" if kind == "msp" else "F" if kind == "spider" else "RGB"), kind)
    yield from _texts()
    yield from _modes()
    yield from _shapes()
    yield from _orientations()
    yield from _chunks()
    yield from _bombs()


def _damaged(kind: str) -> Iterator[tuple[str, bytes]]:
    whole = saved(plain(), kind)
    size, middle = len(whole), len(whole) // 2
    yield "first bytes", whole[:8]
    yield "a quarter", whole[: size // 4]
    yield "half", whole[:middle]
    yield "last byte missing", whole[:-1]
    yield "zeros from the middle", whole[:middle] + bytes(size - middle)
    yield "ones from the middle", whole[:middle] + b"\xff" * (size - middle)
    yield (
        "flipped in the middle",
        whole[:middle] + bytes(b ^ 0x55 for b in whole[middle : middle + 40]) + whole[middle + 40 :],
    )
    yield "flipped at the start", whole[:12] + bytes(b ^ 0x55 for b in whole[12:40]) + whole[40:]
    yield "twice", whole * 2
    yield "much behind it", whole + b"A" * 100_000
    yield "something before it", b"A" + whole
    yield "first bytes of another", saved(plain(), "gif" if kind != "gif" else "png")[:8] + whole[8:]


def _texts() -> Iterator[tuple[str, bytes]]:
    yield "nothing", b""
    yield "one byte", b"\0"
    yield "html", b"<html><img src=x></html>"
    yield (
        "svg",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>',
    )
    yield "script", b"push graphic-context\nviewbox 0 0 640 480\nfill 'url(http://127.0.0.1/)'\npop graphic-context"
    yield "postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file"
    yield "zip", b"PK\x03\x04" + bytes(60)
    yield "numbers", bytes(range(256)) * 8
    yield "zeros", bytes(100_000)
    yield "xbm", b"#define a_width 60000\n#define a_height 60000\nstatic char a_bits[] = {0x00};"


def _modes() -> Iterator[tuple[str, bytes]]:
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        yield f"png {mode}", saved(plain(mode=mode), "png")
    for mode in ("1", "L", "LA", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F", "P"):
        yield f"tiff {mode}", saved(plain(mode=mode), "tiff")
    yield "jpeg CMYK", saved(plain(mode="CMYK"), "jpeg")
    yield "jpeg L", saved(plain(mode="L"), "jpeg")
    yield "jpeg progressive", saved(plain(), "jpeg", progressive=True)
    yield "palette with transparency", saved(plain(mode="P"), "png", transparency=0)
    yield "palette of bytes", saved(plain(mode="P"), "png", transparency=bytes(range(256)))
    yield "png 16 bits a channel", png(b"\0" + bytes(6 * 4), 4, 1, depth=16)
    yield "png palette without one", png(b"\0" + bytes(4), 4, 1, colours=3)
    yield "png palette index past its end", png(b"\0\xff\xff\xff\xff", 4, 1, colours=3, before=chunk(b"PLTE", bytes(3)))
    frames = [plain(20, 20), Image.new("RGB", (20, 20), "red")]
    for kind in ("gif", "webp", "png"):
        yield f"{kind} animated", saved(frames[0], kind, save_all=True, append_images=frames[1:])
    yield "tiff of many pages", saved(frames[0], "tiff", save_all=True, append_images=frames * 20)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"):
        picture = plain(mode="1") if compression == "group4" else plain()
        yield f"tiff {compression}", saved(picture, "tiff", compression=compression)


def _shapes() -> Iterator[tuple[str, bytes]]:
    for width, height in ((1, 1), (2, 2), (1, 10_000), (10_000, 1), (11, 3), (27, 332), (26, 28), (1, 200), (201, 1)):
        yield f"{width}x{height}", saved(plain(width, height), "png")
    for width, height in ((0, 9), (9, 0), (0, 0)):
        yield f"png {width}x{height}", png(b"\0", width, height)
        yield f"gif {width}x{height}", b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0;"


def _orientations() -> Iterator[tuple[str, bytes]]:
    for value in (2, 3, 5, 6, 8, 0, 9, 65535):
        exif = Image.Exif()
        exif[0x0112] = value
        yield f"orientation {value}", saved(plain(), "jpeg", exif=exif)
    yield "orientation cut", saved(plain(), "jpeg", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01")
    yield "exif that points to itself", saved(plain(), "png", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\x08\0\0\0")
    yield "exif of noise", saved(plain(), "webp", exif=b"Exif\0\0" + bytes(range(256)))


def _chunks() -> Iterator[tuple[str, bytes]]:
    bomb = zlib.compress(bytes(80_000_000), 9)
    pixel = b"\0" + bytes(3)
    yield "png text bomb", png(pixel, 1, 1, before=chunk(b"zTXt", b"k\0\0" + bomb))
    yield "png international text bomb", png(pixel, 1, 1, before=chunk(b"iTXt", b"k\0\1\0\0\0" + bomb))
    yield "png profile bomb", png(pixel, 1, 1, before=chunk(b"iCCP", b"k\0\0" + bomb))
    yield "png data bomb", png(bytes(80_000_000), 1, 1)
    yield "png wrong checksum", png(pixel, 1, 1)[:-20] + bytes(4) + png(pixel, 1, 1)[-16:]
    yield "png unknown filter", png(b"\x77" + bytes(3), 1, 1)
    yield "png chunk longer than the file", png(pixel, 1, 1, before=struct.pack(">I", 2**31 - 1) + b"tEXt")
    yield "png many chunks", png(pixel, 1, 1, before=chunk(b"tEXt", b"k\0v") * 20_000)
    yield "png depth 3", png(pixel, 1, 1, depth=3)
    yield "png colours 7", png(pixel, 1, 1, colours=7)
    yield "png interlace 9", png(pixel, 1, 1, interlace=9)
    yield "jpeg profile of noise", saved(plain(), "jpeg", icc_profile=bytes(range(256)))
    yield "gif without a colour table", b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
    yield "gif wrong code size", b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\x30\2D\1\0;"


def _bombs() -> Iterator[tuple[str, bytes]]:
    yield "png that claims to be huge", png(b"\0" * 99, HUGE, HUGE)
    yield "png of 2^31-1", png(b"\0" * 99, 2**31 - 1, 2**31 - 1)
    yield "png of 2^32-1", png(b"\0" * 99, 2**32 - 1, 1)
    yield "png of many pixels", saved(Image.new("1", (8000, 8000)), "png")
    yield "gif that claims to be huge", b"GIF89a" + struct.pack("<HH", 65535, 65535) + saved(plain(), "gif")[10:]
    jpeg = saved(plain(), "jpeg")
    frame = jpeg.index(b"\xff\xc0") + 5
    yield "jpeg that claims to be huge", jpeg[:frame] + struct.pack(">HH", 65500, 65500) + jpeg[frame + 4 :]
    bmp = saved(plain(), "bmp")
    for name, size in (("huge", HUGE), ("2^31-1", 2**31 - 1), ("negative", -(2**31))):
        yield f"bmp that claims {name}", bmp[:18] + struct.pack("<ii", size, size) + bmp[26:]
    yield "webp of many pixels", saved(Image.new("RGB", (16383, 2000)), "webp", lossless=True, quality=0, method=0)
    for name, tag, value in (("width", 256, 2**31 - 1), ("rows a strip", 278, 2**32 - 1), ("samples", 277, 65535)):
        entry = struct.pack("<HHII", tag, 4, 1, value)
        yield f"tiff of a wrong {name}", b"II*\0\x08\0\0\0\1\0" + entry + bytes(4)
    yield "tiff directory that points to itself", b"II*\0\x08\0\0\0\0\0\x08\0\0\0"
    frames = [Image.new("P", (4000, 4000), i % 2) for i in range(2)]
    yield "gif of many large frames", saved(frames[0], "gif", save_all=True, append_images=frames * 4)


def gif_of_many() -> bytes:
    """Frames of one pixel, in six megabytes."""
    frame = b",\0\0\0\0\1\0\1\0\0\2\2D\1\0"
    return b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + frame * 300_000 + b";"


def png(
    rows: bytes, width: int, height: int, *, depth: int = 8, colours: int = 2, interlace: int = 0, before: bytes = b""
) -> bytes:
    """Whatever its header says, ``rows`` is what is in it."""
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, interlace)
    data = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
