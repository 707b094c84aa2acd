"""Images and videos of one prompt, as sent, and what becomes of them. Counts are judged before anything is decoded.

An image is what :mod:`images` reads. A video is frames in order: a list of images; or one string, either an animated
GIF, PNG or WebP, or ``data:video/jpeg;base64,`` and frames with commas between them (vLLM's form). Frames are taken as
they are: none is left out or repeated, and frames a second are what the caller says, whatever a file says. Other
containers (MP4, WebM) are not decoded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from reference_engine.config import EngineConfig
from reference_engine.errors import RequestError
from reference_engine.multimodal.placing import PromptPlacer
from reference_engine.request import Video
from reference_engine.server.images import Pictures
from reference_engine.server.protocol import VideoBody

ANIMATED = ("GIF", "PNG", "WEBP")
_VIDEO_URI = re.compile(r"data:video/(?P<kind>[\w.+-]*)(?:;[\w=.+-]+)*,", re.ASCII | re.IGNORECASE)
_OWN = re.compile(r"(?P<modality>image|video)_data\[(?P<index>\d+)\](?:\.frames)?(?P<rest>.*)")


class Places(Protocol):
    """An engine, or a :class:`reference_engine.predict.Predictor`."""

    @property
    def config(self) -> EngineConfig: ...

    @property
    def placer(self) -> PromptPlacer: ...


@dataclass(frozen=True)
class Media:
    """Each item beside the field that holds it (of a video: its frames), as the caller spells that."""

    images: Sequence[str] = ()
    image_fields: Sequence[str] = ()
    videos: Sequence[VideoBody] = ()
    video_fields: Sequence[str] = ()

    @classmethod
    def listed(cls, images: Sequence[str], videos: Sequence[VideoBody]) -> Media:
        """Items of ``image_data`` and ``video_data``."""
        image_fields = [f"image_data[{i}]" for i in range(len(images))]
        return cls(images, image_fields, videos, [f"video_data[{i}].frames" for i in range(len(videos))])

    def check(self, places: Places) -> None:
        """Raises where there are more than are taken (413), or the family takes none of the kind (422)."""
        config, family = places.config, places.placer.family
        counts = {"image": (len(self.images), config.max_images), "video": (len(self.videos), config.max_videos)}
        for modality, (count, most) in counts.items():
            if count > most:
                raise RequestError(f"{modality}_data", f"{count} {modality}s; at most {most}", status=413)
            if count and modality not in family.placeholders:
                raise RequestError(f"{modality}_data", f"{family.name} takes no {modality}s", status=422)

    def read_images(self, pictures: Pictures) -> list[Image.Image]:
        """Every image, or the refusal of the first that cannot be read, naming its field."""
        return [pictures.read(*each) for each in zip(self.images, self.image_fields, strict=True)]

    def read_videos(self, pictures: Pictures) -> list[Video]:
        return [
            Video(read_frames(video.frames, field, pictures), video.fps)
            for video, field in zip(self.videos, self.video_fields, strict=True)
        ]

    def named(self, field: str) -> str:
        """The engine's name of an item, such as ``image_data[2]``, as the caller spells it; others as they are."""
        found = _OWN.fullmatch(field)
        if found is None:
            return field
        own = self.image_fields if found["modality"] == "image" else self.video_fields
        index = int(found["index"])
        return own[index] + found["rest"] if index < len(own) else field


def read_frames(frames: str | list[str], field: str, pictures: Pictures) -> list[Image.Image]:
    """Every frame, RGB and upright. Raises :class:`RequestError`: 400 unreadable, 413 too many frames or pixels."""
    uri = _VIDEO_URI.match(frames) if isinstance(frames, str) else None
    if isinstance(frames, str) and uri is None:
        return _animated(frames, field, pictures)
    if uri is not None and uri["kind"].lower() != "jpeg":
        kind = f"video/{uri['kind']}"
        raise RequestError(field, f"{kind} is not decoded here; send the frames, a list of images in order")
    sources = frames[uri.end() :].split(",") if uri is not None and isinstance(frames, str) else list(frames)
    _check_count(len(sources), field, pictures.config.max_video_frames)
    names = [f"{field}[{j}]" if uri is None else field for j in range(len(sources))]
    return [pictures.read(source, name) for source, name in zip(sources, names, strict=True)]


def _check_count(count: int, field: str, most: int) -> None:
    if not 0 < count <= most:
        raise RequestError(field, f"{count} frames; from 1 to {most}", status=413 if count else 400)


def _animated(source: str, field: str, pictures: Pictures) -> list[Image.Image]:
    image = pictures.opened(source, field, ANIMATED)
    most = pictures.config.max_video_frames
    if image.format != "GIF":  # to count a GIF's frames is to read it all, however many there are
        _check_count(getattr(image, "n_frames", 1), field, most)
    frames: list[Image.Image] = []
    while (frame := _shown(image, len(frames), field, pictures)) is not None:
        if len(frames) == most:
            raise RequestError(field, f"more than {most} frames; from 1 to {most}", status=413)
        frames.append(frame)
    return frames


def _shown(image: Image.Image, number: int, field: str, pictures: Pictures) -> Image.Image | None:
    """Frame ``number`` as it is shown, with what earlier frames left standing. None after the last."""
    pictures.check(image, field)
    try:
        image.seek(number)
    except EOFError:
        return None
    except Exception as error:  # readers raise whatever their format's library raises
        raise RequestError(field, f"frame {number} cannot be read ({type(error).__name__})") from None
    try:
        frame = image.copy()
    except Exception as error:
        raise RequestError(field, f"frame {number} cannot be decoded ({type(error).__name__})") from None
    return pictures.decoded(frame, field)
