"""What a file is by its first bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from qarib_tasks.corpus.content.decoding import Decoder, decoded, marked_encoding
from qarib_tasks.corpus.content.markup import ARTICLE, markup_name
from qarib_tasks.errors import InputError

PEEK = 4096  # bytes at the start of a file that its signature needs
_LINES = 5  # that must be JSON objects
_COMPRESSIONS = (
    (b"\x1f\x8b", "gz"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"]\x00\x00", "xz"),  # lzma before xz; the text "]" is never followed by zeros
    (b"\x28\xb5\x2f\xfd", "zst"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
)
# Signatures of formats that hold no text lines: (offset, bytes, name).
_BINARY: tuple[tuple[int, bytes, str], ...] = (
    (0, b"SQLite format 3\x00", "an SQLite database"),
    (4, b"Standard Jet DB", "a Microsoft Access database"),
    (4, b"Standard ACE DB", "a Microsoft Access database"),
    (8, b"DUCK", "a DuckDB database"),
    (16, b"\xde\xc0\xef\xbe", "an LMDB database"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"AT&TFORM", "a DjVu document"),
    (60, b"BOOKMOBI", "a Mobipocket or Kindle book"),
    (0, b"ITSF\x03\x00", "a compiled HTML help file"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a Microsoft Office document (doc, xls, ppt or msg)"),
    (0, b"\xffWPC", "a WordPerfect document"),
    (0, b"{\\rtf", "an RTF document"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"CDF\x01", "a NetCDF file"),
    (0, b"CDF\x02", "a NetCDF file"),
    (0, b"ORC", "an ORC file"),
    (0, b"Obj\x01", "an Avro file"),
    (0, b"PARE", "an encrypted Parquet file"),
    (0, b"FEA1", "a Feather file of version 1"),
    (0, b"SEQ\x06", "a Hadoop sequence file"),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file"),
    (0, b"RDX2\n", "an R data file"),
    (0, b"RDX3\n", "an R data file"),
    (0, b"X\n\x00\x00\x00", "an R data file"),
    (0, b"$FL2", "an SPSS file"),
    (0, b"<stata_dta>", "a Stata file"),
    (0, b"GGUF", "a GGUF model"),
    (0, b"lmgg", "a GGML model"),
    (0, b"tjgg", "a GGML model"),
    (0, b"ggjt", "a GGML model"),
    (0, b"\x89PNG\r\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"II*\x00", "a TIFF image"),
    (0, b"MM\x00*", "a TIFF image"),
    (0, b"\x00\x00\x01\x00", "an icon"),
    (0, b"8BPS", "a Photoshop image"),
    (8, b"WEBP", "a WebP image"),
    (8, b"WAVE", "a WAV recording"),
    (8, b"AVI ", "an AVI video"),
    (0, b"RIFF", "a RIFF file"),
    (0, b"OggS", "an Ogg recording"),
    (0, b"fLaC", "a FLAC recording"),
    (0, b"ID3", "an MP3 recording"),
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (4, b"ftyp", "an MP4 video or HEIC image"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\x04\x22\x4d\x18", "an lz4 file"),
    (0, b"\x02\x21\x4c\x18", "an lz4 file"),
    (0, b"LZIP", "an lzip file"),
    (0, b"\x89LZO\x00", "an lzop file"),
    (0, b"\xff\x06\x00\x00sNaPpY", "a Snappy file"),
    (0, b"\x1f\x9d", "a file of the program compress (.Z)"),
    (0, b"x\x01", "data that zlib compressed"),
    (0, b"x^", "data that zlib compressed"),
    (0, b"x\x9c", "data that zlib compressed"),
    (0, b"x\xda", "data that zlib compressed"),
    (0, b"\x1f\xa0", "a file of the program compress (.Z)"),
    (0, b"MSCF\x00", "a cabinet archive"),
    (0, b"!<arch>\n", "an ar archive or Debian package"),
    (0, b"\xed\xab\xee\xdb", "an RPM package"),
    (0, b"070701", "a cpio archive"),
    (0, b"070702", "a cpio archive"),
    (0, b"PACK\x00", "a Git pack"),
    (0, b"# v2 git bundle", "a Git bundle"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ\x90\x00", "a program"),
    (0, b"\xca\xfe\xba\xbe", "a program"),
    (0, b"\xcf\xfa\xed\xfe", "a program"),
    (0, b"\x00asm", "a WebAssembly program"),
    (0, b"\xac\xed\x00\x05", "serialized Java objects"),
    (0, b"bplist00", "a binary property list"),
    (0, b"\x00\x05\x16\x07", "an AppleDouble file of macOS"),
    (0, b"\x00\x05\x16\x00", "an AppleDouble file of macOS"),
    (0, b"wOFF", "a font"),
    (0, b"wOF2", "a font"),
    (0, b"OTTO\x00", "a font"),
    (0, b"\x00\x01\x00\x00\x00", "a font"),
    (0, b"SIMPLE  =" + b" " * 20 + b"T", "a FITS file"),
)
# What unpacking makes readable.
PACKED = {
    "a 7z archive", "a RAR archive", "an lz4 file", "an lzip file", "an lzop file", "a Snappy file",
    "a file of the program compress (.Z)", "data that zlib compressed", "a cabinet archive",
    "an ar archive or Debian package", "an RPM package", "a cpio archive",
}  # fmt: skip
_NO_CONTROLS = (b"%PDF-", b"%!PS", b"{\\rtf")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_PICKLE = re.compile(rb"\x80[\x02-\x05](?:\x95.{8}|[\]}(c\x8a\x8c\x8dXKJMCBNGIq])", re.DOTALL)
_MARC = re.compile(rb"\d{5}[a-z]{2}[a-z ][ a][ a]22\d{5}...45")
_OLD_PICKLE = re.compile(
    rb"(?:[\]}]q\x00|\(?X.{2}\x00\x00|\((?:[ld]p\d+\n|i[\w.]+\n[\w.]+\n)|"
    rb"c(?:copy_reg|__builtin__|numpy[\w.]*)\n[\w.]+\n|\(?V[^\n]*\np\d+\n)",
    re.DOTALL,
)
# An object, or a list of objects or strings; also one in quotes of Python, which the reader refuses.
_JSON = re.compile(
    rb"""(?:\[\s*(?:\{\s*"|\[\s*["\[]|"[^"\n]*"\s*,\s*"|'[^'\n]*'\s*,\s*')|\[?\s*\{\s*(?:"(?:[^"\\\n]|\\.)*"|'\w+')\s*:)"""
)
_SEPARATOR = re.compile(r'"?sep=."?', re.IGNORECASE)  # Excel's line above the header
_ROWS, _FEWEST_ROWS = 50, 3  # that show whether a text is a table
_NAME = re.compile(r"[^\W\d][\w .-]{0,40}|")  # of a column; that of an index can be empty


def compression_of(head: bytes) -> str:
    """Return gz, bz2, xz, zst, zip or tar by the first bytes of a file, or ""."""
    found = next((name for magic, name in _COMPRESSIONS if head.startswith(magic)), "")
    if found == "bz2" and not re.match(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90|\Z)", head):
        return ""
    if found == "xz" and head[:1] == b"]" and len(head) < 13:
        return ""
    # A frame that readers skip can begin a zstd file, and an lz4 file.
    if not found and re.match(rb"[\x50-\x5f]\x2a\x4d\x18", head):
        size = int.from_bytes(head[4:8], "little") + 8
        return "" if head[size:].startswith(b"\x04\x22\x4d\x18") else "zst"
    return found or ("tar" if _is_tar(head) else "")


def _is_tar(head: bytes) -> bool:
    if b"\0" not in head[:512]:  # which fill up a header
        return False
    import tarfile

    try:
        tarfile.TarInfo.frombuf(head[:512], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def table_of(head: bytes) -> str:
    """Return parquet, arrow or warc by the first bytes of a file, or ""."""
    # The header of the first page, or the footer, follows.
    if head.startswith(b"PAR1") and _CONTROL.search(head):
        return "parquet"
    # Arrow's stream begins with the length of the schema, which begins with the offset of its table.
    size, offset = (int.from_bytes(head[i : i + 4], "little") for i in (4, 8))
    is_stream = head.startswith(b"\xff" * 4) and 8 <= size < 1 << 24 and not size % 8 and 4 <= offset < 1 << 8
    if head.startswith(b"ARROW1\x00\x00") or is_stream:
        return "arrow"
    return "warc" if re.match(rb"WARC/\d\.\d+\r?\n", head) else ""


def binary_name(head: bytes) -> str:
    """Return what a file that is no text is called, by its first bytes, or ""."""
    has_controls = _CONTROL.search(head) is not None
    for offset, magic, name in _BINARY:
        # A text can begin with the same letters.
        if head.startswith(magic, offset) and (has_controls or len(magic) > 6 or magic in _NO_CONTROLS):
            return name
    if _PICKLE.match(head) or _OLD_PICKLE.match(head):
        return "a Python pickle"
    if _MARC.match(head):
        return "library records (MARC)"
    if b"%PDF-" in head[:1024]:
        return "a PDF document"
    if head[8:9] == b"{" and 8 < int.from_bytes(head[:8], "little") < 1 << 30:
        return "a safetensors file"
    return "a TFRecord file" if _is_tfrecord(head) else ""


def _is_tfrecord(head: bytes) -> bool:
    if len(head) < 16:
        return False
    from google_crc32c import value

    crc = value(head[:8])
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return bool(masked == int.from_bytes(head[8:12], "little"))


def text_format(text: bytes) -> str:
    """Return the format of a text by its first bytes in UTF-8: jsonl (or JSON), wikiextractor or text."""
    text = text.lstrip()
    if ARTICLE.match(text):
        return "wikiextractor"
    if _JSON.match(text):
        return "jsonl"
    lines = [line for line in text.splitlines(keepends=True) if line.strip()][:_LINES]
    if lines and not lines[-1].endswith((b"\n", b"\r")) and len(lines) > 1:
        lines.pop()
    # One of them may be damaged, which the reader says.
    return "jsonl" if 2 * sum(map(_is_object, lines)) > len(lines) else "text"


def text_name(head: bytes, plain: bool) -> str:
    """Return what a file is called that is a text, though it should not be one, by its first bytes, or "".

    Args:
        plain: plain text is meant too, not only markup.
    """
    encoding, mark = marked_encoding(head)
    head = decoded(head[mark:], encoding or "utf-8")[0].encode("utf-8", "replace") if encoding else head
    if name := markup_name(head):
        return name
    if not plain or _CONTROL.search(head) or Decoder("utf-8").decode(head)[1]:
        return ""
    return "JSON" if text_format(head) == "jsonl" else "text"


def names_column(text: bytes, names: Sequence[str]) -> str:
    """Return csv or tsv if the first line of a text names columns, one of which is wanted; otherwise "".

    Args:
        text: the first bytes of the text.
        names: of the fields that are wanted.
    """
    lines = re.split("[\r\n]+", text.decode("utf-8", "replace").strip("\ufeff\r\n"), maxsplit=3)
    if len(lines) > 1 and _SEPARATOR.fullmatch(lines[0]):
        return "csv"
    line, *more = lines
    for delimiter in "\t,;|":
        columns = [column.strip().strip("\"'") for column in line.split(delimiter)]
        known = len(columns) > 1 and all(map(_NAME.fullmatch, columns)) and set(columns) & set(names)
        if known and all(delimiter in other for other in more[:1]):
            return "tsv" if delimiter == "\t" else "csv"
    return ""


def columns_in(text: bytes) -> tuple[str, int]:
    """Return what separates the columns, and how many there are, if lines of a text probably are rows.

    Args:
        text: the first bytes of the text.

    Returns:
        the name of the character; "" if it is no table.
    """
    lines = [line.strip() for line in text.splitlines()[:_ROWS] if line.strip()]
    lines = lines[:-1] if len(lines) > _FEWEST_ROWS else lines  # The last one may be incomplete.
    if len(lines) < _FEWEST_ROWS:
        return "", 0
    for delimiter, name in ((b"\t", "tabs"), (b",", "commas"), (b";", "semicolons"), (b"|", "|")):
        counts = {line.count(delimiter) for line in lines}
        # A tab is no part of a sentence.
        is_table = delimiter == b"\t" or all(line.partition(delimiter)[0].strip().isdigit() for line in lines)
        if is_table and len(counts) == 1 and 0 not in counts:
            return name, counts.pop() + 1
        for quote in (b'"', b"'"):
            widths = {_quoted_columns(line, delimiter, quote) for line in lines}
            if len(widths) == 1 and 0 not in widths:
                return name, widths.pop()
    return "", 0


def _quoted_columns(line: bytes, delimiter: bytes, quote: bytes) -> int:
    """Return how many columns a line has that are in quotes or one word each; 0 if it is no such row."""
    quoted = rb"%b(?:[^%b\\]|\\.|%b%b)*%b" % ((quote,) * 5)
    column, end = rb"(?:%b|[^\s%b%b]*)" % (quoted, quote, delimiter), re.escape(delimiter)
    is_row = quote in line and re.fullmatch(rb"%b(?:%b%b)+" % (column, end, column), line)
    return re.sub(quoted, b"", line).count(delimiter) + 1 if is_row else 0


def _is_object(line: bytes) -> bool:
    if not line.lstrip().startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        # A line that is longer than what was read of it.
        return len(line) > PEEK and not line.endswith((b"\n", b"\r")) and b'":' in line[:PEEK]


def document_name(members: Sequence[str]) -> str:
    """Return what a zip file is called that is a document, a model or a program, by its members, or ""."""
    first = {name.partition("/")[0] for name in members}
    names = set(members)
    if "AndroidManifest.xml" in names or "META-INF/MANIFEST.MF" in names:
        return "a Java or Android program"
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch file"
    if names and all(name.endswith(".npy") for name in names):
        return "NumPy arrays (npz)"
    if "META-INF/container.xml" in names:
        return "an EPUB book"
    if "content.xml" in names and names & {"mimetype", "META-INF/manifest.xml", "meta.xml"}:
        return "an OpenDocument document (odt, ods or odp)"
    if "model.weights.h5" in names:
        return "a Keras model"
    for folder, name in (("word", "docx"), ("xl", "xlsx"), ("ppt", "pptx")):
        if folder in first and ("[Content_Types].xml" in names or f"{folder}/{_PARTS[folder]}" in names):
            return f"a Microsoft Office document ({name})"
    return ""


_PARTS = {"word": "document.xml", "xl": "workbook.xml", "ppt": "presentation.xml"}


def refusal(name: str, where: str) -> InputError:
    """Return the error for a file that is no corpus.

    Args:
        name: what the file is, such as "a PDF document".
    """
    do = "Unpack the file" if name in PACKED else "Convert the file to text, or leave it out"
    return InputError(f"not text, but {name}", where=where, do=do)
