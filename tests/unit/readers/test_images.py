import os
import struct
import threading
import time
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin

import mmrerank
from mmrerank.errors import FormatError
from mmrerank.parts import make
from mmrerank.readers._gate import PixelGate
from mmrerank.readers._headers import header
from mmrerank.readers._pictures import BytesPicture, FilePicture, Limits
from mmrerank.readers._tiff import pages_at as tiff_pages

ORIENTATIONS = range(1, 9)
ELSEWHERE = "; where other programs open it, convert it to JPEG or PNG"


def opened(data: bytes, **options) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = BytesPicture(data=data, **options).open()
    assert result.mode == "RGB"
    return result


def same(first: Image.Image, second: Image.Image, within: int = 0) -> bool:
    if first.size != second.size:
        return False
    return bool(np.abs(np.asarray(first, dtype=int) - np.asarray(second, dtype=int)).max() <= within)


def refused(data: bytes, **options) -> str:
    with pytest.raises(FormatError) as error:
        BytesPicture(data=data, name="a picture", **options).open()
    assert error.value.path == "a picture"
    return error.value.reason


# ---------------------------------------------------------------- formats and modes


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_come_back_pixel_for_pixel(picture, encoded, format):
    quantized = picture.quantize(256).convert("RGB") if format == "GIF" else picture
    assert same(opened(encoded(quantized, format, **({"lossless": True} if format == "WEBP" else {}))), quantized)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 100}])
def test_a_jpeg_is_what_pillow_makes_of_it(picture, encoded, options):
    data = encoded(picture, "JPEG", **options)
    assert same(opened(data), Image.open(BytesIO(data)))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_become_rgb(picture, encoded, mode):
    data = encoded(picture.convert(mode), "JPEG", quality=100)
    assert same(opened(data), Image.open(BytesIO(data)).convert("RGB"))
    assert same(opened(data), picture.convert(mode).convert("RGB"), within=12)


def test_a_ycck_jpeg_keeps_its_colours(picture, encoded):
    """An Adobe marker with transform 2 over the four stored channels: libjpeg turns them back into CMYK."""
    data = encoded(Image.new("CMYK", (16, 8), (0, 0, 0, 0)), "JPEG", quality=100)
    place = data.index(b"Adobe")
    ycck = data[: place + 11] + b"\x02" + data[place + 12 :]
    assert opened(data).getpixel((3, 3)) == (255, 255, 255)
    assert same(opened(ycck), Image.open(BytesIO(ycck)).convert("RGB"))
    assert not same(opened(ycck), opened(data))


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "CMYK", "YCbCr", "P", "RGBA", "LA", "LAB"])
def test_tiff_modes(picture, encoded, mode, compression):
    source = picture.convert("RGB").convert(mode) if mode != "LAB" else picture.convert("LAB")
    try:
        data = encoded(source, "TIFF", compression=compression)
        Image.open(BytesIO(data)).load()
    except OSError as error:  # old ones write YCbCr without compression so that they cannot read it themselves
        pytest.skip(f"this Pillow does not write or read such a file: {error}")
    expected = source if mode not in ("RGBA", "LA") else source.convert("RGBA")  # all opaque
    assert same(opened(data), expected.convert("RGB"), within=1)


def test_lab_is_converted_by_colour_not_by_channel(encoded):
    srgb = Image.new("RGB", (8, 6), (200, 30, 40))
    lab = ImageCms.profileToProfile(srgb, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")
    assert np.abs(np.array(opened(encoded(lab, "TIFF")).getpixel((2, 2))) - (200, 30, 40)).max() <= 3


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_grey_is_scaled_not_clipped(encoded, format, order):
    values = np.array([[0, 128, 129, 257, 300], [32767, 32768, 65279, 65406, 65535]], dtype=np.uint16)
    if format == "PNG":
        data = encoded(Image.fromarray(values), "PNG")
    else:
        data = encoded(Image.frombytes("I;16B" if order == ">" else "I;16", (5, 2), values.astype(f"{order}u2").tobytes()), "TIFF")
    expected = np.rint(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(opened(data))[..., 0], expected)
    np.testing.assert_array_equal(np.asarray(opened(data))[..., 2], expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 100.0, 255.0]], np.float32), [0, 100, 255]),
        (np.array([[-1.0, 0.0, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, np.nan, 1.0]], np.float32), [0, 0, 255]),
        (np.array([[0, 100, 255]], np.int32), [0, 100, 255]),
        (np.array([[0, 25700, 65535]], np.int32), [0, 100, 255]),
        (np.array([[-100, 0, 100]], np.int32), [0, 128, 255]),
        (np.array([[7, 7, 7]], np.int32), [7, 7, 7]),
        (np.array([[-7, -7, -7]], np.int32), [0, 0, 0]),
    ],
)
def test_integers_and_floats_of_32_bits(encoded, values, expected):
    assert np.asarray(opened(encoded(Image.fromarray(values), "TIFF")))[0, :, 1].tolist() == expected


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})])
def test_alpha_is_composited_on_white(encoded, format, options):
    source = Image.new("RGBA", (5, 3), (0, 0, 0, 0))
    source.putpixel((1, 0), (10, 20, 30, 255))
    source.putpixel((2, 2), (0, 0, 0, 128))
    result = opened(encoded(source, format, **options))
    assert [result.getpixel(place) for place in [(0, 0), (1, 0), (2, 2)]] == [(255, 255, 255), (10, 20, 30), (127, 127, 127)]


def test_grey_with_alpha(encoded):
    source = Image.new("LA", (4, 2), (0, 0))
    source.putpixel((1, 1), (77, 255))
    result = opened(encoded(source, "PNG"))
    assert (result.getpixel((0, 0)), result.getpixel((1, 1))) == ((255, 255, 255), (77, 77, 77))


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_palette_with_transparency(encoded, transparency):
    source = Image.new("P", (4, 2), 0)
    source.putpalette([200, 0, 0, 0, 0, 200])
    source.putpixel((3, 1), 1)
    result = opened(encoded(source, "PNG", transparency=transparency))
    assert (result.getpixel((0, 0)), result.getpixel((3, 1))) == ((255, 255, 255), (0, 0, 200))


@pytest.mark.parametrize(("mode", "key"), [("L", 9), ("RGB", (9, 9, 9)), ("1", 0)])
def test_a_transparent_colour_becomes_white(encoded, mode, key):
    source = Image.new(mode, (4, 2), key)
    source.putpixel((2, 1), {"L": 50, "RGB": (1, 2, 3), "1": 1}[mode])
    result = opened(encoded(source, "PNG", transparency=key))
    assert result.getpixel((0, 0)) == (255, 255, 255)
    assert result.getpixel((2, 1)) == {"L": (50, 50, 50), "RGB": (1, 2, 3), "1": (255, 255, 255)}[mode]


def test_a_transparent_16_bit_grey_becomes_white(encoded):
    values = np.array([[1000, 2570]], dtype=np.uint16)
    result = opened(with_chunk(encoded(Image.fromarray(values), "PNG"), b"tRNS", struct.pack(">H", 1000)))
    assert [result.getpixel((x, 0))[0] for x in (0, 1)] == [255, 10]


def test_only_the_first_frame_counts(encoded):
    frames = [Image.new("RGB", (9, 5), colour) for colour in ("red", "green", "blue")]
    for format in ("GIF", "WEBP", "TIFF", "PNG"):
        options = {"lossless": True} if format == "WEBP" else {}
        result = opened(encoded(frames[0], format, save_all=True, append_images=frames[1:], **options))
        assert (result.size, result.getpixel((4, 2))) == ((9, 5), (255, 0, 0)), format


def test_a_gif_whose_first_frame_is_smaller_than_its_screen(encoded):
    frame = encoded(Image.new("RGB", (4, 3), "red"), "GIF")
    screen = frame[:6] + struct.pack("<HH", 10, 8) + frame[10:]
    result = opened(screen)
    assert result.size == (10, 8)
    assert result.getpixel((0, 0)) == (255, 0, 0)


def test_an_mpo_is_its_first_picture(picture, encoded):
    data = encoded(picture, "MPO", save_all=True, append_images=[Image.new("RGB", (24, 16), "red")])
    assert same(opened(data, suffix=".jpg"), Image.open(BytesIO(encoded(picture, "JPEG"))))


def test_a_bmp_stored_from_the_top(picture, encoded):
    data = bytearray(encoded(picture, "BMP"))
    struct.pack_into("<l", data, 22, -16)
    assert same(opened(bytes(data)), picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM))


def test_a_bigtiff(picture, encoded):
    assert same(opened(encoded(picture, "TIFF", big_tiff=True)), picture)


# ---------------------------------------------------------------- orientation


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(("format", "options"), [("JPEG", {"quality": 95}), ("PNG", {}), ("WEBP", {"lossless": True})])
def test_every_orientation_is_turned_upright_pixel_for_pixel(picture, encoded, format, options, orientation):
    data = encoded(picture, format, exif=exif(orientation), **options)
    expected = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    result = opened(data)
    assert same(result, expected)
    assert result.size == ((24, 16) if orientation < 5 else (16, 24))
    assert header(data).size == (result.height, result.width)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_of_a_tiff_is_turned_once(picture, encoded, orientation):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = orientation
    data = encoded(picture, "TIFF", tiffinfo=tags)
    plain = encoded(picture, "PNG", exif=exif(orientation))
    assert same(opened(data), opened(plain))


@pytest.mark.parametrize(
    "block", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"\0" * 40, exif(1)[:-9], exif(0), exif(77)]
)
def test_a_broken_exif_block_does_not_cost_the_picture(picture, encoded, block):
    assert same(opened(encoded(picture, "PNG", exif=block[6:])), picture)
    data = encoded(picture, "JPEG", exif=block)
    assert same(opened(data), Image.open(BytesIO(encoded(picture, "JPEG"))))


# ---------------------------------------------------------------- damage


def with_chunk(png: bytes, name: bytes, body: bytes) -> bytes:
    chunk = struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))
    return png[:33] + chunk + png[33:]  # after the header


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_file_cut_anywhere_is_refused(encoded, format):
    noise = Image.fromarray(np.random.default_rng(5).integers(0, 256, (40, 56, 3), dtype=np.uint8))
    data = encoded(noise, format)
    for share in (0.02, 0.3, 0.6, 0.9):
        reason = refused(data[: int(len(data) * share)])
        assert reason.startswith(("truncated: ", "damaged: ", "not a picture")), reason
    assert refused(data[: int(len(data) * 0.6)]).startswith("truncated: ")


def test_a_jpeg_without_its_last_bytes_is_refused(picture, encoded):
    data = encoded(picture, "JPEG")
    assert refused(data[:-40]).startswith("truncated: ")


def test_a_jpeg_with_a_zeroed_end_is_refused(encoded):
    """A download into a preallocated file that stopped half-way."""
    noise = Image.fromarray(np.random.default_rng(6).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, "JPEG")
    half = len(data) // 2
    assert refused(data[:half] + bytes(len(data) - half)) == "truncated: ends before its end mark"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "0 bytes"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "not a picture: looks like HTML"),
        (b"%PDF-1.7\n1 0 obj", "not a picture: looks like PDF; name it .pdf to have its pages read"),
        (b"PK\x03\x04" + b"\0" * 30, "not a picture: looks like ZIP"),
        (b"just some words\n", "not a picture: looks like text"),
        (b"\xef\xbb\xbf<svg xmlns='x'/>", "SVG, which is not decoded; convert it to PNG"),
        (b"\0" * 500, "not a picture: looks like nothing but zero bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not a picture: looks like a Git LFS pointer, not the file it stands for"),
        (
            b"\0\0\0\x20ftypheic" + b"\0" * 30,
            "a HEIC that cannot be decoded (its structure cannot be read)" + ELSEWHERE,
        ),
        (
            b"\0\0\0\x20ftypavif" + b"\0" * 30,
            "an AVIF that cannot be decoded (its structure cannot be read)" + ELSEWHERE,
        ),
        (bytes(range(1, 200)), "not a picture: looks like unknown binary data"),
    ],
)
def test_what_is_not_a_picture_is_named(data, expected):
    assert refused(data) == expected


def test_a_pixel_bomb_is_refused_from_its_header(encoded):
    small = bytearray(encoded(Image.new("1", (8, 8)), "PNG"))
    struct.pack_into(">LL", small, 16, 20_000, 20_000)
    struct.pack_into(">L", small, 29, zlib.crc32(small[12:29]))
    assert refused(bytes(small)) == "20000x20000 = 400 megapixels, above the limit of 179"


def test_pictures_above_half_the_limit_of_pillow_do_not_warn(encoded):
    assert opened(encoded(Image.new("1", (10_000, 9_000)), "PNG", compress_level=1)).size == (10_000, 9_000)


def test_the_limits_are_ours_to_set(picture, encoded):
    data = encoded(picture, "PNG")
    assert refused(data, limits=Limits(max_pixels=24 * 16 - 1)).startswith("24x16 = 0 megapixels")
    assert "above the limit" in refused(data, limits=Limits(max_bytes=60))
    assert opened(data, limits=Limits(max_pixels=24 * 16)).size == (24, 16)


def test_a_gif_frame_beyond_its_screen_counts_with_its_own_size(encoded):
    data = bytearray(encoded(Image.new("L", (4, 4)), "GIF"))
    place = data.index(b"\x2c\0\0\0\0\x04\0\x04\0")
    struct.pack_into("<HH", data, place + 5, 60_000, 60_000)
    assert refused(bytes(data)).startswith("60000x60000 = 3600 megapixels")


def test_text_and_profile_bombs_are_never_opened(picture, encoded):
    bomb = zlib.compress(bytes(80 * 2**20))
    data = with_chunk(encoded(picture, "PNG"), b"zTXt", b"Comment\0\0" + bomb)
    assert same(opened(data), picture)
    assert same(opened(with_chunk(data, b"iCCP", b"profile\0\0" + bomb)), picture)


def test_a_flipped_bit_in_a_png_is_found_by_its_checksum(picture, encoded):
    data = bytearray(encoded(picture, "PNG", compress_level=0))
    data[len(data) // 2] ^= 4
    assert refused(bytes(data)) == "damaged: the checksum of a IDAT chunk is wrong"


def test_a_png_without_picture_data_is_none(encoded):
    data = encoded(Image.new("RGB", (4, 3)), "PNG").replace(b"IDAT", b"iDAT")
    assert refused(data) == "damaged: holds no picture data"


def test_an_invalid_apng_control_chunk_does_not_warn(picture, encoded):
    assert same(opened(with_chunk(encoded(picture, "PNG"), b"acTL", struct.pack(">LL", 0, 0))), picture)


def test_broken_tags_of_a_tiff_that_the_pixels_do_not_need_do_not_warn(picture, encoded):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = "a description long enough to stand beyond its entry"
    data = bytearray(encoded(picture, "TIFF", tiffinfo=tags))
    place = data.index(struct.pack("<HH", 270, 2))
    struct.pack_into("<L", data, place + 8, 2**31)
    assert same(opened(bytes(data)), picture)


def test_huge_tiles_are_refused(picture, encoded):
    data = bytearray(encoded(picture, "TIFF"))
    for old, new, value in ((278, 322, 60_000), (284, 323, 60_000)):  # rows per strip and planes become tile sides
        place = data.index(struct.pack("<HH", old, 3 if old == 284 else data[data.index(struct.pack("<H", old)) + 2]))
        struct.pack_into("<HHLL", data, place, new, 4, 1, value)
    assert refused(bytes(data)) == "tiles of 60000x60000 pixels are not read"


def test_a_tiff_of_too_many_channels_or_with_pixels_beyond_its_end_is_refused(picture, encoded):
    data = encoded(picture, "TIFF")
    for tag, value, reason in ((277, 900, "900 values a pixel are not read"), (273, 2**31, "truncated: its pixels lie beyond the end")):
        broken = bytearray(data)
        struct.pack_into("<HLL", broken, data.index(struct.pack("<H", tag), 8) + 2, 4, 1, value)
        assert refused(bytes(broken)) == reason


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp", ".tif"])
def test_a_mislabelled_picture_is_refused_with_the_way_out(picture, encoded, suffix):
    data = encoded(picture, "PNG")
    way_out = "rename it, or read with mislabelled='accept' (--read-mislabelled)"
    assert refused(data, suffix=suffix) == f"holds a PNG but is named {suffix}; {way_out}"
    assert same(opened(data, suffix=suffix, mislabelled="accept"), picture)


@pytest.mark.parametrize(("suffix", "format"), [(".jpe", "JPEG"), (".jfif", "JPEG"), (".TIFF", "TIFF"), (".dat", "PNG"), ("", "GIF")])
def test_suffixes_of_one_format_are_the_same_and_unknown_ones_claim_nothing(picture, encoded, suffix, format):
    assert opened(encoded(picture, format), suffix=suffix).size == (24, 16)


# ---------------------------------------------------------------- files and the reader


def test_a_file_is_one_item(picture, encoded, written, sorted_out):
    path = written("harbour/boat.jpg", encoded(picture, "JPEG", exif=exif(6)))
    reader = make("images")
    (entry,), failures = sorted_out(reader, path)
    assert not failures
    assert (entry.item.item_id, entry.item.document_id, entry.item.page_number, entry.item.text) == ("boat.jpg", None, None, None)
    assert entry.item.metadata == {"height": 24, "width": 16}
    assert reader.count(path) == 1
    assert same(entry.item.image.open(), reader.handle(path, "").open())
    assert entry.item.image.open().size == (16, 24)
    assert len(entry.content_hash) == 32


def test_the_hash_follows_the_content_only(picture, encoded, written, sorted_out):
    data = encoded(picture, "PNG")
    paths = [written("a.png", data), written("b.png", data), written("c.png", data + b"\0")]
    hashes = [sorted_out(make("images"), path)[0][0].content_hash for path in paths]
    assert hashes[0] == hashes[1] != hashes[2]


def test_reading_does_not_decode(picture, encoded, written, sorted_out):
    """Damage behind the header shows when the picture is opened, in the thread that decodes."""
    data = encoded(picture.resize((200, 200)).quantize(64), "GIF")
    (entry,), _ = sorted_out(make("images"), written("cut.gif", data[:-300]))
    with pytest.raises(FormatError, match=r"truncated: "):
        entry.item.image.open()


@pytest.mark.parametrize(
    ("options", "reason"), [({}, "rename it"), ({"mislabelled": "accept", "max_pixels": 10}, "megapixels"), ({"max_bytes": 10}, "above")]
)
def test_the_options_reach_the_picture(picture, encoded, written, options, reason):
    path = written("a.jpg", encoded(picture, "PNG"))
    inside = ", ".join(f"{key}={value!r}" for key, value in options.items())
    reader = make(f"images({inside})")
    for attempt in (lambda: list(reader.read(path, "a")), lambda: reader.handle(path, "").open()):
        with pytest.raises(FormatError, match=reason):
            attempt()


def test_an_accepted_mislabelled_file_opens(picture, encoded, written, sorted_out):
    (entry,), _ = sorted_out(make("images(mislabelled=accept)"), written("a.jpg", encoded(picture, "PNG")))
    assert same(entry.item.image.open(), picture)


def test_what_is_no_file_is_a_format_error(tmp_path):
    reader = make("images")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    for name in ("pipe.jpg", "folder.jpg", "loop.jpg", "missing.jpg", "nul\0.jpg"):
        with pytest.raises(FormatError):
            list(reader.read(tmp_path / name, "x"))
        with pytest.raises(FormatError):
            FilePicture(path=tmp_path / name).open()


def test_a_picture_file_has_no_parts(written):
    with pytest.raises(FormatError, match="no part"):
        make("images").handle(written("a.png", b"x"), "#page=2")


def test_threads_decode_without_warnings_or_mixing(picture, encoded):
    """Pictures that make Pillow warn when opened plainly, in eight threads, with warnings as errors."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 1000)
    files = [
        encoded(picture, "JPEG", exif=exif(6)[:-4]),
        with_chunk(encoded(picture, "PNG", pnginfo=info), b"acTL", struct.pack(">LL", 0, 0)),
        encoded(picture.quantize(16), "PNG", transparency=bytes(range(16))),
        encoded(picture, "GIF"),
    ]
    expected = [np.asarray(opened(data)).tobytes() for data in files]
    problems: list[object] = []

    def work() -> None:
        try:
            for _ in range(25):
                problems.extend(i for i, data in enumerate(files) if BytesPicture(data=data).open().tobytes() != expected[i])
        except Exception as error:  # reported by the assertion below
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


# ---------------------------------------------------------------- fuzz


def _file_of(format: str) -> bytes:
    buffer = BytesIO()
    rows, columns = np.mgrid[:20, :30]
    picture = Image.fromarray(np.stack([columns * 8, rows * 12, rows * columns % 256], axis=-1).astype(np.uint8))
    options = {"exif": exif(6)} if format in ("JPEG", "PNG", "WEBP") else {}
    (picture.quantize(8) if format == "GIF" else picture).save(buffer, format, **options)
    return buffer.getvalue()


FUZZED = {format: _file_of(format) for format in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")}
flips = st.lists(st.tuples(st.integers(0, 2**31), st.integers(1, 255)), max_size=6)


@settings(max_examples=400)
@given(format=st.sampled_from(sorted(FUZZED)), flips=flips, header_only=st.booleans(), cut=st.none() | st.integers(0, 5000))
def test_damaged_pictures_only_give_a_picture_or_a_format_error(format, flips, header_only, cut):
    data = bytearray(FUZZED[format])
    for place, change in flips:
        data[place % (min(len(data), 100) if header_only else len(data))] ^= change
    try:
        result = opened(bytes(data[:cut] if cut else data), limits=Limits(max_pixels=10_000_000))
    except FormatError as error:
        assert error.reason  # noqa: PT017 - either outcome is right
        return
    assert result.width * result.height <= 10_000_000


@settings(max_examples=100)
@given(start=st.sampled_from([data[:12] for data in FUZZED.values()]), rest=st.binary(max_size=300))
def test_random_bytes_behind_a_known_start(start, rest):
    try:
        opened(start + rest, limits=Limits(max_pixels=1_000_000))
    except FormatError as error:
        assert error.reason  # noqa: PT017 - either outcome is right


# ---------------------------------------------------------------- formats that a library opens


@pytest.mark.parametrize(
    ("format", "suffix", "within"), [("AVIF", ".avif", 12), ("JPEG2000", ".jp2", 6), ("PPM", ".ppm", 0), ("TGA", ".tga", 0)]
)
def test_formats_that_pillow_writes_are_read_by_name_and_as_bytes(picture, encoded, format, suffix, within):
    data = encoded(picture, format, **({"quality": 100, "subsampling": "4:4:4"} if format == "AVIF" else {}))
    assert same(opened(data, suffix=suffix), picture, within=within)


@pytest.mark.parametrize(("format", "suffix"), [("PCX", ".pcx"), ("SGI", ".sgi"), ("DDS", ".dds"), ("QOI", ".qoi")])
def test_older_formats_are_read(picture, encoded, format, suffix):
    assert same(opened(encoded(picture, format), suffix=suffix), picture)


def test_icons_are_read_at_their_largest(encoded):
    source = Image.new("RGBA", (64, 64), (200, 0, 0, 255))
    for format, suffix in (("ICO", ".ico"), ("ICNS", ".icns")):
        assert opened(encoded(source, format), suffix=suffix).getpixel((5, 5)) == (200, 0, 0)


def test_a_heic_is_read_upright_by_every_door():
    """The file: 64 x 48 pixels, red rising to the right and green downwards, stored with a quarter turn clockwise by pillow-heif 1.8.1."""
    path = Path(__file__).parents[2] / "golden" / "turned.heic"
    doors = [FilePicture(path=path), BytesPicture(data=path.read_bytes()), mmrerank.picture(str(path)), mmrerank.picture(path.read_bytes())]
    for picture in doors:
        upright = picture.open()
        assert upright.size == (48, 64)
        assert np.abs(np.subtract(upright.getpixel((2, 2)), (8, 225, 0))).max() < 12  # what was stored at the bottom on the left
    assert header(path.read_bytes()).size == (64, 48)


def test_a_jpeg_xl_is_read_where_its_library_is(picture):
    imagecodecs = pytest.importorskip("imagecodecs")
    for size in ((16, 24), (24, 16), (300, 401), (8, 8)):
        pixels = np.asarray(picture.resize(size[::-1]))
        for container in (False, True):
            data = imagecodecs.jpegxl_encode(pixels, lossless=True, usecontainer=container)
            assert header(data).size == size
            assert np.array_equal(np.asarray(opened(data, suffix=".jxl")), pixels)


def test_a_missing_library_is_named_with_its_install_line(monkeypatch):
    monkeypatch.setattr("mmrerank.readers._further.find_spec", lambda name: None)
    reason = refused(b"\xff\x0a" + bytes(30), suffix=".jxl")
    assert reason == "reading a JPEG XL needs imagecodecs: pip install 'mmrerank[formats]'; or convert it to JPEG or PNG"
    reader = make("images")
    assert reader.passes_over(Path("a.NEF")).startswith("reading a camera's raw picture needs rawpy: pip install")
    assert reader.passes_over(Path("a.jpg")) == ""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript (EPS), which is not decoded"),
        (b"\xd7\xcd\xc6\x9a" + bytes(40), "a Windows metafile (WMF), which is not decoded"),
        (b"gimp xcf v011\0" + bytes(40), "a GIMP picture (XCF), which is not decoded"),
        (b"\0\0\0\x18ftypmp42" + bytes(40), "not a picture: looks like a video (MP4)"),
        (b"\x1a\x45\xdf\xa3" + bytes(40), "not a picture: looks like a video (Matroska or WebM)"),
        (b"RIFF\x24\0\0\0AVI LIST", "not a picture: looks like a video (AVI)"),
        (b"\0\x05\x16\x07" + bytes(40), "not a picture: looks like a Mac's companion file"),
        (b"<?xml version='1.0'?><svg/>", "SVG, which is not decoded"),
        (b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "x"><html>', "not a picture: looks like HTML"),
        (b'{"error": "not found"}', "not a picture: looks like JSON"),
        (b"/annex/objects/SHA256E-s1--0.jpg\n", "not a picture: looks like a git-annex pointer"),
        (b"BM, what a car\n and more words", "not a picture: looks like text"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\4CgBI" + bytes(30), "a PNG that was packed for iPhone programs (CgBI) is not decoded"),
    ],
)
def test_what_is_not_decoded_is_called_by_its_name_and_never_damaged(data, words):
    assert refused(data, suffix=".jpg").startswith(words)


def tiff_of(pixels: bytes, **tags: tuple[int, ...]) -> bytes:
    """A TIFF of 8 x 8 whose tags are the numbers of the specification, `t258=(12,)`."""
    defaults = {"t256": (8,), "t257": (8,), "t259": (1,), "t262": (1,), "t277": (1,), "t278": (8,), "t279": (len(pixels),)}
    entries = {int(name[1:]): values for name, values in {**defaults, **tags}.items()} | {273: (0,)}
    start = 8 + 2 + 12 * len(entries) + 4
    extra, body = b"", b""
    for tag in sorted(entries):
        values = entries[tag]
        if len(values) > 2:
            body += struct.pack("<HHLL", tag, 3, len(values), start + len(extra))
            extra += struct.pack(f"<{len(values)}H", *values)
        else:
            body += struct.pack("<HHL4s", tag, 4, 1, b"ATPX" if tag == 273 else struct.pack("<L", values[0]))
    return (
        b"II*\0"
        + struct.pack("<LH", 8, len(entries))
        + body.replace(b"ATPX", struct.pack("<L", start + len(extra)))
        + bytes(4)
        + extra
        + pixels
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16, 32])
def test_white_is_white_at_every_depth(bits):
    assert np.asarray(opened(tiff_of(b"\xff" * (8 * 8 * bits // 8), t258=(bits,)))).min() == 255


@pytest.mark.parametrize("bits", [10, 14, 24])
def test_rare_depths_are_read_with_the_library_for_them(bits):
    pytest.importorskip("imagecodecs")
    assert np.asarray(opened(tiff_of(b"\xff" * (8 * 8 * bits // 8), t258=(bits,)))).min() == 255


def test_a_scale_that_the_file_names_is_used(encoded):
    pixels = struct.pack("<64H", *[4095] * 64)
    assert np.asarray(opened(tiff_of(pixels, t258=(16,), t281=(4095,)))).min() == 255


def test_floats_in_colour_and_halves_are_read():
    colour = struct.pack("<192f", *[0.0, 0.5, 1.0] * 64)
    assert opened(tiff_of(colour, t258=(32, 32, 32), t262=(2,), t277=(3,), t339=(3, 3, 3))).getpixel((3, 3)) == (0, 128, 255)
    halves = struct.pack("<64e", *[0.25] * 64)
    assert opened(tiff_of(halves, t258=(16,), t339=(3,))).getpixel((0, 0)) == (64, 64, 64)


def test_a_bmp_of_2_bits_is_named_and_not_damaged(picture, encoded):
    data = bytearray(encoded(picture.quantize(4), "BMP"))
    data[28:30] = b"\2\0"
    assert refused(bytes(data)) == "a BMP of 2 bits a pixel, which is not decoded; convert it to PNG"


# ---------------------------------------------------------------- orientation by every door


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[274] = orientation
    return block.tobytes()


def with_text(key: str, value: bytes, packed: bool) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text(key, value.decode("latin-1"), zip=packed)
    return info


def raw_profile(block: bytes) -> bytes:
    digits = block.hex()
    return b"\nexif\n%8d\n" % len(block) + "\n".join(digits[n : n + 72] for n in range(0, len(digits), 72)).encode() + b"\n"


def itxt(packed: bool) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=packed)
    return info


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {"quality": 100, "subsampling": 0, "exif": exif(6)}),
        ("JPEG", {"quality": 100, "subsampling": 0, "xmp": XMP}),
        ("PNG", {"exif": exif(6)}),
        ("PNG", {"pnginfo": with_text("Raw profile type exif", raw_profile(exif(6)), packed=False)}),
        ("PNG", {"pnginfo": with_text("Raw profile type exif", raw_profile(exif(6)), packed=True)}),
        ("PNG", {"pnginfo": with_text("Raw profile type APP1", raw_profile(exif(6)), packed=True)}),
        ("PNG", {"pnginfo": itxt(packed=False)}),
        ("PNG", {"pnginfo": itxt(packed=True)}),
        ("WEBP", {"lossless": True, "exif": exif(6)}),
        ("WEBP", {"lossless": True, "xmp": XMP}),
        ("TIFF", {"tiffinfo": {274: 6}}),
        ("TIFF", {"tiffinfo": {700: XMP}}),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4", "exif": exif(6)}),
    ],
)
def test_orientation_counts_wherever_tools_put_it(picture, encoded, written, format, options):
    data = encoded(picture, format, **options)
    upright = picture.transpose(Image.Transpose.ROTATE_270)
    path = written(f"a.{format.lower()}", data)
    doors = [opened(data), FilePicture(path=path).open(), mmrerank.picture(str(path)).open(), mmrerank.picture(data).open()]
    if "APP1" not in str(options.get("pnginfo", "") and options["pnginfo"].chunks[0][1][:30]):  # Pillow does not read this one
        doors.append(mmrerank.picture(Image.open(BytesIO(data))).open())
    assert all(same(picture, upright, within=12 if format in ("JPEG", "AVIF") else 0) for picture in doors)


def test_exif_goes_before_xmp(picture, encoded):
    assert opened(encoded(picture, "JPEG", exif=exif(3), xmp=XMP)).size == picture.size


# ---------------------------------------------------------------- pages of a TIFF


def pages_of(count: int, **options) -> bytes:
    pages = [Image.new("L", (20 + n, 30), 40 * n) for n in range(count)]
    buffer = BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:], **options)
    return buffer.getvalue()


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"big_tiff": True}])
def test_the_pages_of_a_tiff_are_items(written, sorted_out, options):
    path, reader = written("a.tif", pages_of(3, **options)), make("images(ocr='never')")
    entries, failures = sorted_out(reader, path)
    assert (failures, reader.count(path), reader.is_one_item(path)) == ([], 3, False)
    assert [entry.item.item_id for entry in entries] == [f"a.tif#page={n}" for n in (1, 2, 3)]
    assert {(entry.item.document_id, entry.item.page_number) for entry in entries} == {("a.tif", n) for n in (1, 2, 3)}
    assert [entry.item.image.open().size for entry in entries] == [(20, 30), (21, 30), (22, 30)]
    assert reader.handle(path, "#page=3").open().getpixel((0, 0)) == (80, 80, 80)
    assert len({entry.content_hash for entry in entries}) == 3
    with pytest.raises(FormatError, match="has 3 pages and no page 4"):
        reader.handle(path, "#page=4").open()


def test_a_tiff_of_one_page_keeps_its_id(written, sorted_out):
    (entry,), _ = sorted_out(make("images(ocr='never')"), path := written("a.tif", pages_of(1)))
    assert (entry.item.item_id, make("images").count(path)) == ("a.tif", 1)


def test_smaller_versions_in_a_tiff_are_no_pages(written, sorted_out):
    data = bytearray(pages_of(2))
    places = tiff_pages(memoryview(bytes(data)), 9)
    entries = struct.unpack_from("<H", data, places[1])[0]
    for n in range(entries):  # the second directory says that it is a smaller version of the first
        place = places[1] + 2 + 12 * n
        if struct.unpack_from("<H", data, place)[0] == 257:
            struct.pack_into("<HHLL", data, place - 12 * n, 254, 4, 1, 1)
    (entry,), failures = sorted_out(make("images(ocr='never')"), written("a.tif", bytes(data)))
    assert (entry.item.item_id, failures) == ("a.tif", [])


def test_a_page_that_cannot_be_read_costs_itself_only(written, sorted_out):
    data = bytearray(pages_of(3))
    place = tiff_pages(memoryview(bytes(data)), 9)[1]
    for n in range(struct.unpack_from("<H", data, place)[0]):
        if struct.unpack_from("<H", data, place + 2 + 12 * n)[0] == 273:
            struct.pack_into("<L", data, place + 2 + 12 * n + 8, 2**31)
    entries, (failure,) = sorted_out(make("images(ocr='never')"), path := written("a.tif", bytes(data)))
    assert ([entry.item.page_number for entry in entries], failure.path) == ([1, 3], "a.tif#page=2")
    assert failure.reason == "truncated: its pixels lie beyond the end"
    assert make("images").count(path) == 3


def test_directories_that_go_round_end_there(written):
    data = bytearray(pages_of(2))
    first, second = tiff_pages(memoryview(bytes(data)), 9)
    struct.pack_into("<L", data, second + 2 + 12 * struct.unpack_from("<H", data, second)[0], first)
    assert make("images").count(written("a.tif", bytes(data))) == 2


def test_more_pages_than_are_read_are_one_failure(written, sorted_out):
    reader = make("images(max_pages=2, ocr='never')")
    entries, (failure,) = sorted_out(reader, path := written("a.tif", pages_of(4)))
    assert (len(entries), failure.path, reader.count(path)) == (2, "a.tif#page=3", 3)


@pytest.mark.parametrize(("format", "options"), [("GIF", {}), ("WEBP", {}), ("PNG", {})])
def test_of_an_animation_the_first_frame_is_taken_and_that_is_said(encoded, written, sorted_out, format, options):
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    still = encoded(frames[0], format)
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    entries = [sorted_out(make("images"), written(f"{n}.{format.lower()}", d))[0][0] for n, d in enumerate((still, data))]
    assert ["picture_note" in entry.item.metadata for entry in entries] == [False, True]


# ---------------------------------------------------------------- memory


def test_pixels_that_are_open_at_one_time_are_bounded_over_all_threads():
    gate, most, lock = PixelGate(100), [0, 0], threading.Lock()

    def decode(pixels: int) -> None:
        with gate.scope(), gate.room_for(pixels):
            with lock:
                most[0] += pixels
                most[1] = max(most[1], most[0])
            time.sleep(0.002)
            with lock:
                most[0] -= pixels

    threads = [threading.Thread(target=decode, args=(size,)) for size in (60, 50, 40, 30, 20, 100, 10) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads)
    assert 0 < most[1] <= 100


def test_one_picture_above_the_bound_is_let_in_alone_and_a_second_of_one_thread_does_not_wait():
    gate, let_in = PixelGate(100), []

    def decode() -> None:
        with gate.room_for(500):
            let_in.append(500)
        with gate.scope():
            for size in (90, 90):
                with gate.room_for(size):
                    let_in.append(size)
        with gate.room_for(100):
            let_in.append(100)

    thread = threading.Thread(target=decode, daemon=True)
    thread.start()
    thread.join(timeout=60)  # one that waits for itself would never end
    assert let_in == [500, 90, 90, 100]


def test_an_icon_that_counts_its_colours_is_an_icon(encoded):
    data = bytearray(encoded(Image.new("RGB", (16, 16), "red"), "ICO"))
    data[8] = 2  # as icons of few colours say it
    assert opened(bytes(data), suffix=".ico").getpixel((3, 3)) == (255, 0, 0)
