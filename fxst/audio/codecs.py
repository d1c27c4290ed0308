"""Names of codecs and containers that libsndfile cannot read, for messages.

Source: RFC 2361 and Microsoft's mmreg.h (WAV); the containers' own specifications.
"""

from typing import Final

__all__ = ["unread"]

_IN_WAV: Final = {
    0x0004: "VSELP", 0x0022: "TrueSpeech", 0x0042: "G.723.1", 0x0055: "MP3", 0x0050: "MPEG audio", 0x0083: "G.729",
    0x0092: "AC-3", 0x00FF: "AAC", 0x0160: "Windows Media", 0x0161: "Windows Media", 0x0162: "Windows Media",
    0x0163: "Windows Media", 0x0270: "ATRAC3", 0x1600: "AAC", 0x1610: "AAC", 0x2000: "AC-3", 0x2001: "DTS",
    0x674F: "Vorbis", 0x704F: "Opus", 0xA109: "Speex", 0xF1AC: "FLAC",
}  # fmt: skip
_IN_AIFC_AND_CAF: Final = {
    b"aac ": "AAC", b"alac": "ALAC", b"MAC3": "MACE", b"MAC6": "MACE", b"QDM2": "QDesign",
    b"QDMC": "QDesign", b"Qclp": "QCELP", b".mp3": "MP3", b"ac-3": "AC-3", b"opus": "Opus", b"ilbc": "iLBC",
    b"samr": "AMR",
}  # fmt: skip
_IN_OGG: Final = {b"Speex": "Speex", b"\x80theora": "Theora video", b"fishead": "Skeleton", b"\x01video": "OGM video"}
_CONTAINERS: Final = (
    (4, b"ftyp", "MP4, with AAC or ALAC"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"TTA1", "True Audio"),
    (0, b"tBaK", "TAK"),
    (0, b"#!AMR", "AMR"),
    (0, b"MThd", "MIDI, notes without sound"),
    (0, b"DSD ", "DSD"),
    (0, b"FRM8", "DSD"),
    (0, b"FLV", "Flash video"),
    (0, b"\x00\x00\x01\xba", "MPEG video"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b"ADIF", "AAC"),
    (0, b".RMF", "RealMedia"),
    (8, b"AVI ", "AVI video"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
)
"""Signatures of other file types: offset, bytes, name."""


def unread(head: bytes, codec: int | bytes | None) -> str | None:
    """Name the codec or container that libsndfile cannot read; None where it is unknown.

    Args:
        head: The file's first bytes, after tags.
        codec: The codec in its header: a number in WAV, four letters in AIFC and CAF, the first bytes of the first
            packet in Ogg.
    """
    if isinstance(codec, int):
        return _IN_WAV.get(codec)
    if codec is not None:
        in_ogg = (name for mark, name in _IN_OGG.items() if codec.startswith(mark))
        return _IN_AIFC_AND_CAF.get(codec) or next(in_ogg, None)
    return next((name for at, mark, name in _CONTAINERS if head[at : at + len(mark)] == mark), None)
