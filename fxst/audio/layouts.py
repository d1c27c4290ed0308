"""The loudspeakers of a file's channels: read from its header, in the order of its decoder, and put into one order.

Source: Microsoft, `WAVEFORMATEXTENSIBLE`; the Vorbis I specification, section 4.3.9; RFC 7845, section 5.1.1; RFC 9639,
sections 8.6.2 and 9.1.3; Apple's Core Audio Format specification, `Channel Layout Chunk`.
"""

from typing import Final

from fxst.audio import chunks
from fxst.audio.id3 import Read
from fxst.dsp.channels import ROLES, ChannelLayout

__all__ = ["FLAC_MASK", "bitmap_chunk", "of_ffmpeg", "order", "read_layout", "vorbis_order"]

_EXTENSIBLE: Final = 0xFFFE
_OGG_PAGE_BYTES: Final = 27
_WITH_LAYOUT: Final = b"\1"
"""Opus's mapping family of Vorbis's layouts."""
_MASK_AT: Final = 20
_MOST_LABELS: Final = 256
_LONGEST_COMMENT_BYTES: Final = 1 << 16
FLAC_MASK: Final = "WAVEFORMATEXTENSIBLE_CHANNEL_MASK"
"""The tag of a FLAC file whose layout is not the usual one of its number of channels."""

_VORBIS: Final = {
    1: "FC", 2: "FL FR", 3: "FL FC FR", 4: "FL FR BL BR", 5: "FL FC FR BL BR", 6: "FL FC FR BL BR LFE",
    7: "FL FC FR SL SR BC LFE", 8: "FL FC FR SL SR BL BR LFE",
}  # fmt: skip
"""The channels of Vorbis, and of Opus in mapping family 1."""

_DESCRIPTIONS, _BITMAP = 0, 1 << 16
_CORE_AUDIO: Final = {
    100: "FC", 101: "FL FR", 108: "FL FR BL BR", 113: "FL FR FC", 114: "FC FL FR", 115: "FL FR FC BC",
    116: "FC FL FR BC", 117: "FL FR FC SL SR", 118: "FL FR SL SR FC", 119: "FL FC FR SL SR", 120: "FC FL FR SL SR",
    121: "FL FR FC LFE SL SR", 122: "FL FR SL SR FC LFE", 123: "FL FC FR SL SR LFE", 124: "FC FL FR SL SR LFE",
    125: "FL FR FC LFE SL SR BC", 126: "FL FR FC LFE SL SR FLC FRC", 127: "FC FLC FRC FL FR SL SR LFE",
    128: "FL FR FC LFE SL SR BL BR", 129: "FL FR SL SR FC LFE FLC FRC", 131: "FL FR BC", 132: "FL FR SL SR",
    133: "FL FR LFE", 134: "FL FR LFE BC", 135: "FL FR LFE SL SR", 136: "FL FR FC LFE", 137: "FL FR FC LFE BC",
    138: "FL FR SL SR LFE", 139: "FL FR SL SR FC BC", 140: "FL FR SL SR FC BL BR", 141: "FC FL FR SL SR BC",
    142: "FC FL FR SL SR BC LFE", 143: "FC FL FR SL SR BL BR",
}  # fmt: skip
"""The channels of Core Audio's layout tags."""
_CORE_AUDIO_LABELS: Final = {33: "BL", 34: "BR"}

_FFMPEG: Final = {
    "mono": "FC", "stereo": "FL FR", "2.1": "FL FR LFE", "3.0": "FL FR FC", "3.0(back)": "FL FR BC",
    "4.0": "FL FR FC BC", "quad": "FL FR BL BR", "quad(side)": "FL FR SL SR", "3.1": "FL FR FC LFE",
    "5.0": "FL FR FC BL BR", "5.0(side)": "FL FR FC SL SR", "4.1": "FL FR FC LFE BC", "5.1": "FL FR FC LFE BL BR",
    "5.1(side)": "FL FR FC LFE SL SR", "6.0": "FL FR FC BC SL SR", "6.0(front)": "FL FR FLC FRC SL SR",
    "hexagonal": "FL FR FC BL BR BC", "6.1": "FL FR FC LFE BC SL SR", "6.1(back)": "FL FR FC LFE BL BR BC",
    "6.1(front)": "FL FR LFE FLC FRC SL SR", "7.0": "FL FR FC BL BR SL SR", "7.0(front)": "FL FR FC FLC FRC SL SR",
    "7.1": "FL FR FC LFE BL BR SL SR", "7.1(wide)": "FL FR FC LFE BL BR FLC FRC",
    "7.1(wide-side)": "FL FR FC LFE FLC FRC SL SR", "octagonal": "FL FR FC BL BR BC SL SR",
}  # fmt: skip
"""FFmpeg's names of layouts, and their channels in its order."""


def read_layout(read: Read, start: int, end: int, channels: int) -> tuple[str, ...] | None:
    """Return the loudspeaker of each channel as its decoder orders them; None where the file names none.

    Args:
        read: Reads the file: `read(size, offset)`.
        start: Offset at which the file begins, after tags.
        end: Offset at which it ends, before tags.
        channels: Number of channels.
    """
    magic = read(4, start)
    if magic == b"fLaC":
        return _of_flac(read, start, end, channels)
    if magic == b"OggS":
        return _of_ogg(read, start, channels)
    found = chunks.layout(read, start, end)
    if found is None:
        return None
    if found.magic in (b"FORM", b"caff"):
        place = next((one for one in chunks.chunks(read, start, end) if one.name in (b"CHAN", b"chan")), None)
        return None if place is None else _of_core_audio(read(min(place.size, 1 << 14), place.start), channels)
    order_of_bytes = "big" if found.magic == b"RIFX" else "little"
    form = read(_MASK_AT + 4, found.described)
    if int.from_bytes(form[:2], order_of_bytes) != _EXTENSIBLE:  # type: ignore[arg-type]
        return None
    mask = int.from_bytes(form[_MASK_AT:], order_of_bytes)  # type: ignore[arg-type]
    return _of_mask(mask, channels)


def of_ffmpeg(name: str, channels: int) -> tuple[str, ...] | None:
    """Return the loudspeakers of a layout that FFmpeg names, or lists as `FL+FR+LFE`; None where it is unknown."""
    roles = _FFMPEG.get(name, name.replace("+", " ")).split()
    known = tuple(role if role in ROLES else "" for role in roles)
    return known if len(known) == channels and any(known) else None


def order(roles: tuple[str, ...]) -> list[int] | None:
    """Return the channels in the order of a WAV's mask, those without a loudspeaker last; None where they are so."""
    place = {role: index for index, role in enumerate(ROLES)}
    sorted_ = sorted(range(len(roles)), key=lambda channel: place.get(roles[channel], len(ROLES)))
    return None if sorted_ == list(range(len(roles))) else sorted_


def vorbis_order(layout: ChannelLayout) -> tuple[list[int] | None, tuple[str, ...]]:
    """Return the channels of a layout in the order of Vorbis and Opus, and how those call its loudspeakers.

    They call the two surrounds of five and six channels back, which may be at the sides. A layout that they lack is
    written in the order of its channels.
    """
    channels = len(layout.roles)
    wanted = _VORBIS.get(channels, "").split()
    roles = layout.roles if any(layout.roles) else ChannelLayout.usual(channels).roles
    if "BL" in wanted and "SL" not in wanted and "BL" not in roles:
        roles = tuple({"SL": "BL", "SR": "BR"}.get(role, role) for role in roles)
    if sorted(wanted) != sorted(roles):
        return None, tuple(wanted)
    found = [roles.index(role) for role in wanted]
    return (None if found == list(range(channels)) else found), roles


def bitmap_chunk(layout: ChannelLayout) -> bytes:
    """Return the content of a `CHAN` or `chan` chunk that names the loudspeakers."""
    return b"".join(number.to_bytes(4, "big") for number in (_BITMAP, layout.mask, 0))


def _of_mask(mask: int, channels: int) -> tuple[str, ...] | None:
    return ChannelLayout.of_mask(mask, channels).roles if mask & (1 << len(ROLES)) - 1 else None


def _of_flac(read: Read, start: int, end: int, channels: int) -> tuple[str, ...]:
    usual = ChannelLayout.usual(channels).roles
    if channels <= 2:
        return usual
    at = start + 4
    while at + 4 <= end:
        head = read(4, at)
        size = int.from_bytes(head[1:], "big")
        if head[0] & 0x7F == 4:  # VORBIS_COMMENT
            text = read(min(size, _LONGEST_COMMENT_BYTES), at + 4)
            place = text.upper().find(FLAC_MASK.encode() + b"=0X")
            if place >= 0:
                digits = text[place + len(FLAC_MASK) + 3 :][:8]
                number = bytes(byte for byte in digits if byte in b"0123456789abcdefABCDEF")
                return _of_mask(int(number or b"0", 16), channels) or usual
        if head[0] & 0x80:
            break
        at += 4 + size
    return usual


def _of_ogg(read: Read, start: int, channels: int) -> tuple[str, ...] | None:
    page = read(_OGG_PAGE_BYTES, start)
    packet = read(19, start + _OGG_PAGE_BYTES + page[-1])
    if packet.startswith(b"\x7fFLAC"):
        return ChannelLayout.usual(channels).roles
    if packet.startswith(b"OpusHead") and channels > 2 and packet[18:] != _WITH_LAYOUT:
        return None
    roles = _VORBIS.get(channels, "").split()
    return tuple(roles) or None


def _of_core_audio(chunk: bytes, channels: int) -> tuple[str, ...] | None:
    tag, bitmap, count = (int.from_bytes(chunk[at : at + 4], "big") for at in (0, 4, 8))
    if tag == _BITMAP:
        return _of_mask(bitmap, channels)
    if tag == _DESCRIPTIONS:
        labels = [int.from_bytes(chunk[at : at + 4], "big") for at in range(12, 12 + 20 * min(count, _MOST_LABELS), 20)]
        roles = tuple(
            ROLES[label - 1] if 1 <= label <= len(ROLES) else _CORE_AUDIO_LABELS.get(label, "") for label in labels
        )
    else:
        roles = tuple(_CORE_AUDIO.get(tag >> 16, "").split())
    return roles if len(roles) == channels and any(roles) else None
