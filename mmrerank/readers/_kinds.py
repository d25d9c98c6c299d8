"""What a file is: the picture formats that are read, by name and by first bytes, and words for all else that turns up among pictures.

Source: the registered brands of ISO base media files (mp4ra.org); for the others what their formats document as their first bytes.
The standard library has nothing for it, and the databases of `file` name thousands of kinds in words for administrators.
"""

from __future__ import annotations

import re
import struct

# suffix -> the picture format that belongs to it
PICTURE_SUFFIXES = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    ".png": "PNG",
    ".apng": "PNG",
    ".webp": "WebP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".dib": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    **dict.fromkeys((".heic", ".heif", ".hif", ".heics"), "HEIC"),
    ".avif": "AVIF",
    ".jxl": "JPEG XL",
    **dict.fromkeys((".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"), "JPEG 2000"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), "PNM"),
    ".tga": "TGA",
    ".pcx": "PCX",
    ".sgi": "SGI",
    ".dds": "DDS",
    ".qoi": "QOI",
    ".psd": "Photoshop",
    ".ico": "icon",
    ".icns": "Mac icon",
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".orf", ".rw2"), "camera raw"),
    **dict.fromkeys((".raf", ".pef", ".srw", ".x3f", ".erf", ".mrw", ".3fr", ".iiq", ".kdc", ".dcr", ".mos", ".rwl"), "camera raw"),
}
# suffix -> other formats that are written under it in good faith
_ALSO = {".heif": {"AVIF"}, ".hif": {"AVIF"}, ".jpx": {"JPEG XL"}, ".psd": {"TIFF"}}
TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
_PICTURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    *((magic, "TIFF") for magic in TIFF_MAGICS),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"\x01\xda\0", "SGI"),
    (b"\x01\xda\x01", "SGI"),
    (b"icns", "Mac icon"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
    (b"IIRO", "camera raw"),
    (b"IIRS", "camera raw"),
    (b"MMOR", "camera raw"),
    (b"IIU\0", "camera raw"),
    (b"II\x1a\0\0\0HEAPCCDR", "camera raw"),
    (b"FOVb", "camera raw"),
    (b"\0MRM", "camera raw"),
)
_PNM = re.compile(rb"P[1-6f][\s#]")
_PCX = re.compile(rb"\x0a[\x00\x02\x03\x05][\x00\x01][\x01\x02\x04\x08]", re.DOTALL)
_ICON = re.compile(rb"\0\0\x01\0[\x01-\xff][\0-\x02].{3}[\0\xff]", re.DOTALL)  # its number of pictures, sizes and colours, a reserved byte
_BMP_HEADERS = frozenset((12, 16, 40, 52, 56, 64, 108, 124))  # bytes of the header that follows the file's own
# brand of an ISO base media file -> what it is
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis", b"avio"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"heif"), "HEIC"),
    b"crx ": "camera raw",
}
_OTHERS = (
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript (EPS)"),
    (b"\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)"),
    (b"gimp xcf", "a GIMP picture (XCF)"),
    (b"II\xbc", "JPEG XR"),
    (b"AT&TFORM", "DjVu"),
    (b"SIMPLE  =", "FITS"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"\x59\xa6\x6a\x95", "a Sun raster"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an older Office document or a folder's thumbnails"),
    (b"{\\rtf", "a rich text document"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"PAR1", "Parquet"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\x1a\x45\xdf\xa3", "a video (Matroska or WebM)"),
    (b"\0\0\x01\xba", "a video (MPEG)"),
    (b"\0\0\x01\xb3", "a video (MPEG)"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video (WMV)"),
    (b"FLV\x01", "a video (Flash)"),
    (b"OggS", "Ogg audio or video"),
    (b"ID3", "audio (MP3)"),
    (b"fLaC", "audio (FLAC)"),
    (b"\0\x05\x16\x07", "a Mac's companion file (AppleDouble), not the picture itself"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file it stands for"),
    (b"/annex/objects/", "a git-annex pointer, not the file it stands for"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"\0\0\1\0", "an icon"),
    (b"\0\0\2\0", "a mouse pointer"),
)
# pictures that are not read
_GRAPHICS = frozenset(
    ("SVG", "PostScript (EPS)", "a Windows metafile (WMF)", "a Windows metafile (EMF)", "a GIMP picture (XCF)")
) | frozenset(("JPEG XR", "DjVu", "FITS", "OpenEXR", "Radiance HDR", "a Sun raster", "DICOM", "a mouse pointer"))
_TEXTS = ((b"<svg", "SVG"), (b"<!doctype html", "HTML"), (b"<html", "HTML"), (b"<head", "HTML"), (b"<body", "HTML"))
_ARTICLES = {"icon": "an icon", "Mac icon": "a Mac icon", "camera raw": "a camera's raw picture", "Photoshop": "a Photoshop document"}


def picture_format(head: bytes, suffix: str = "") -> str | None:
    """The picture format that the first bytes announce, of those that are read; None for anything else. `suffix` decides where
    formats begin alike (TIFF and many raw pictures) or have no mark of their own (TGA).

    >>> picture_format(b"GIF89a......"), picture_format(b"%PDF-1.7...."), picture_format(b"II*\\x00", ".nef")
    ('GIF', None, 'camera raw')
    """
    claim = PICTURE_SUFFIXES.get(suffix.lower())
    if head[:4] in TIFF_MAGICS:
        return "camera raw" if claim == "camera raw" or head[8:10] == b"CR" else "TIFF"
    name = next((name for magic, name in _PICTURES if head.startswith(magic)), None)
    if name is not None:
        return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return _brand(head)
    if head[:2] == b"BM" and (len(head) < 18 or struct.unpack_from("<L", head, 14)[0] in _BMP_HEADERS):
        return "BMP"
    for pattern, kind in ((_PNM, "PNM"), (_PCX, "PCX"), (_ICON, "icon")):
        if pattern.match(head):
            return kind
    return "TGA" if claim == "TGA" and head[1:2] in b"\0\1" and head[2:3] in (b"\1", b"\2", b"\3", b"\x09", b"\x0a", b"\x0b") else None


def _brand(head: bytes) -> str | None:
    """What an ISO base media file is by its major brand, and where that is a general one by those it is compatible with."""
    length = min(struct.unpack_from(">L", head)[0], len(head)) if len(head) >= 12 else 0
    brands = [head[8:12], *(head[place : place + 4] for place in range(16, length - 3, 4))]
    kinds = [kind for brand in brands if (kind := _BRANDS.get(brand)) is not None]
    if kinds and brands[0] in (b"mif1", b"msf1") and "AVIF" in kinds:
        return "AVIF"
    return kinds[0] if kinds and brands[0] in _BRANDS else None


def belongs(suffix: str, format: str) -> bool:
    """Whether a picture of this format may be named so; a suffix of no picture claims nothing."""
    suffix = suffix.lower()
    return PICTURE_SUFFIXES.get(suffix, format) == format or format in _ALSO.get(suffix, ())


def looks_like(head: bytes) -> str:
    """What the first bytes of something that was not expected look like, in words for a message; 1024 bytes tell most.

    >>> looks_like(b"<!DOCTYPE html><html>"), looks_like(b"\\x00\\x01\\x02")
    ('HTML', 'unknown binary data')
    """
    name = picture_format(head)
    if name is not None:
        return _ARTICLES.get(name, name)
    if head[4:8] == b"ftyp":
        return {b"qt  ": "a video (QuickTime)", b"M4A ": "audio (M4A)"}.get(head[8:12], "a video (MP4)")
    if head[:4] == b"RIFF":
        return {b"AVI ": "a video (AVI)", b"WAVE": "audio (WAV)"}.get(head[8:12], "a RIFF file")
    if head[:4] == b"PK\x03\x04":
        return _zip_kind(head)
    if head[40:44] == b" EMF":
        return "a Windows metafile (EMF)"
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[257:262] == b"ustar":
        return "a tar archive"
    return next((kind for magic, kind in _OTHERS if head.startswith(magic)), None) or _text_kind(head)


def why_no_picture(head: bytes) -> str:
    """Why something that no picture format announces is not read as a picture, and what to do where something can be done.

    >>> why_no_picture(b"<svg xmlns='x'/>"), why_no_picture(b"plain words")
    ('SVG, which is not decoded; convert it to PNG', 'not a picture: looks like text')
    """
    kind = looks_like(head)
    if kind in _GRAPHICS:
        return f"{kind}, which is not decoded; convert it to PNG"
    remedy = {"PDF": "; name it .pdf to have its pages read"}.get(kind, "")
    return f"not a picture: looks like {kind}{remedy}"


def _zip_kind(head: bytes) -> str:
    if b"mimetypeapplication/epub" in head:
        return "an EPUB"
    if b"mimetypeapplication/vnd.oasis" in head:
        return "an OpenDocument file"
    for part, kind in ((b"word/", "a Word document"), (b"ppt/", "a PowerPoint presentation"), (b"xl/", "an Excel workbook")):
        if part in head:
            return kind
    return "an Office document" if b"[Content_Types].xml" in head else "ZIP"


def _text_kind(head: bytes) -> str:
    start = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<?xml", b"<!--", b"<!doctype")):
        return next((kind for mark, kind in _TEXTS if mark in start), "XML" if start.startswith(b"<?xml") else "text")
    if kind := next((kind for mark, kind in _TEXTS if start.startswith(mark)), None):
        return kind
    if not start.strip(b"\0"):
        return "nothing but zero bytes"
    if start.startswith((b'{"', b"[{", b"{\n", b"{ ")):
        return "JSON"
    printable = all(byte >= 32 or byte in b"\t\r\n\f" for byte in head[:512])
    return "text" if printable else "unknown binary data"
