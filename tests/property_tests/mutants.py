"""Wrong front ends, one a property that no fault of the engine's own catalogue reaches: each wraps one capability."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from harness.implementations.base import Expansion, ImageGeometry, Picture, Positions, Refusal

Right = Callable[..., Any]
_numbers = count()


def rounds_up(right: Right) -> Right:
    """Sides go to the next cell instead of the nearest."""
    return lambda sizes, geometry: [[-(-w // geometry.cell) * -(-h // geometry.cell)] for w, h in sizes]


def knows_only_width(right: Right) -> Right:
    return lambda sizes, geometry: right([(w, min(h, 400)) for w, h in sizes], geometry)


def counts_the_first(right: Right) -> Right:
    """A batch is as large as its first image says."""
    return lambda sizes, geometry: right([sizes[0]] * len(sizes), geometry)


def has_limits_of_its_own(right: Right) -> Right:
    return lambda sizes, geometry: right(sizes, ImageGeometry())


def cuts_no_bands(right: Right) -> Right:
    return lambda sizes, geometry, band_cells: right(sizes, geometry, 10_000)


def remembers(right: Right) -> Right:
    """The text of one answer begins the next."""
    last: list[str] = []

    def stream(*arguments: Any) -> list[str]:
        pieces = [*last[-1:], *right(*arguments)]
        last[:] = ["left over"]
        return pieces

    return stream


def touches_text(right: Right) -> Right:
    def expand(*arguments: Any) -> Expansion:
        found = right(*arguments)
        return replace(found, ids=[token + (token > 9) for token in found.ids])

    return expand


def adds_a_token(right: Right) -> Right:
    def expand(*arguments: Any) -> Expansion:
        found = right(*arguments)
        return replace(found, ids=[*found.ids, 1])

    return expand


def loses_a_token(right: Right) -> Right:
    return lambda *arguments: replace(p := right(*arguments), rows=[row[:-1] for row in p.rows])


def counts_on_from_one_more(right: Right) -> Right:
    return lambda *arguments: replace(p := right(*arguments), delta=p.delta + 1)


def ends_are_exclusive(right: Right) -> Right:
    return lambda *arguments: [[(start, end + 1) for start, end in item] for item in right(*arguments)]


def takes_what_it_finds(right: Right) -> Right:
    def find(*arguments: Any) -> Any:
        try:
            return right(*arguments)
        except Refusal:
            return []

    return find


def pads_in_place(right: Right) -> Right:
    def pad(ids: list[int], items: Any) -> list[int]:
        ids[:] = right(ids, items)
        return ids

    return pad


def drops_a_field(right: Right) -> Right:
    return lambda size: [(name, given, [None, *got[1:]]) for name, given, got in right(size)]


def key_of_the_moment(right: Right) -> Right:
    return lambda *arguments: f"{right(*arguments)}{next(_numbers)}"


def loses_the_last_row(right: Right) -> Right:
    return lambda rows, placeholders, start, stop: right(rows, placeholders, start, stop - 2)


def turns_images(right: Right) -> Right:
    """Height and width change places."""
    return lambda family, segments, padding: right(
        family, [replace(s, grid=(s.grid[0], s.grid[2], s.grid[1])) for s in segments], padding
    )


def stops_time(right: Right) -> Right:
    """Text goes on from a video's height or width, whatever its length, as in transformers 5.23."""

    def place(family: str, segments: Sequence[Any], padding: int) -> Positions:
        short = [replace(s, seconds=s.seconds / 100) if s.kind == "video" else s for s in segments]
        return right("qwen2_5_vl", short, padding)

    return place


def runs_one_more(right: Right) -> Right:
    return lambda family, size: replace(m := right(family, size), run=m.run and m.run + 1)


def skips_special_ids(right: Right) -> Right:
    """Whatever was asked for."""
    return lambda kind, vocabulary, special, sequences, skip: right(kind, vocabulary, special, sequences, True)


def reads_another_time(right: Right) -> Right:
    """A decoder with memory: something of the picture before is left."""

    def read(data: bytes) -> Picture:
        found = right(data)
        return replace(found, pixels=[(next(_numbers) % 256, 0, 0), *found.pixels[1:]])

    return read


def makes_up_rows(right: Right) -> Right:
    def read(data: bytes) -> Picture:
        try:
            return right(data)
        except Refusal:
            return Picture((1, 1), [(0, 0, 0)])

    return read


def by_frames_first(right: Right) -> Right:
    """Channels and frames change places."""
    return lambda picture, geometry: [
        [row[channel * 2 * p + frame * p + k] for frame in range(2) for channel in range(3) for k in range(p)]
        for row in right(picture, geometry)
        for p in [len(row) // 6]
    ]


def blocks_of_their_own(right: Right) -> Right:
    """No key holds the one before it."""
    return lambda ids, items, size: [
        hash((tuple(ids[k : k + size]), str(items))) for k in range(0, len(ids) // size * size, size)
    ]


def never_uses(right: Right) -> Right:
    return lambda *arguments: None


def turns_rows(right: Right) -> Right:
    return lambda text, rows, places: right(text, rows[::-1], places)


def spreads_rows(right: Right) -> Right:
    """As an index put does with one row, and cuts what is too many."""
    return lambda text, rows, places: right(text, [*rows, *[rows[0]] * len(places)][: len(places)], places)


def takes_zero_for_nothing(right: Right) -> Right:
    return lambda way, body, rewritten: {name: value or None for name, value in right(way, body, rewritten).items()}


def forgets_the_seed(right: Right) -> Right:
    """When a body is written out again."""
    return lambda way, body, rewritten: right(way, body, rewritten) | ({"seed": None} if rewritten else {})


def takes_null_for_one(right: Right) -> Right:
    return lambda way, body, rewritten: right(way, {k: 1 if v is None else v for k, v in body.items()}, rewritten)


MUTANTS: dict[str, tuple[str, Callable[[Right], Right]]] = {
    "test_counting.py::test_count_is_the_published_one": ("count_tokens", rounds_up),
    "test_counting.py::test_transposed_image_has_as_many_tokens": ("count_tokens", knows_only_width),
    "test_counting.py::test_each_image_is_counted_by_itself": ("count_tokens", counts_the_first),
    "test_counting.py::test_pixel_limits_are_kept": ("count_tokens", has_limits_of_its_own),
    "test_counting.py::test_a_banded_image_counts_as_its_bands": ("count_banded_tokens", cuts_no_bands),
    "test_detokenizing.py::test_an_answer_knows_nothing_of_the_one_before": ("stream_text", remembers),
    "test_expansion.py::test_text_ids_are_untouched": ("expand_ids", touches_text),
    "test_expansion.py::test_without_images_nothing_changes": ("expand_ids", adds_a_token),
    "test_mrope.py::test_shape_is_three_rows_of_one_number_a_token": ("place_positions", loses_a_token),
    "test_mrope.py::test_delta_continues_one_past_the_largest_position": ("place_positions", counts_on_from_one_more),
    "test_offsets.py::test_offsets_are_where_the_images_were_put": ("find_offsets", ends_are_exclusive),
    "test_offsets.py::test_an_offset_holds_as_many_tokens_as_were_counted": ("find_offsets", ends_are_exclusive),
    "test_offsets.py::test_counts_that_disagree_are_refused": ("find_offsets", takes_what_it_finds),
    "test_padded_ids.py::test_the_ids_passed_in_are_not_changed": ("pad_ids", pads_in_place),
    "test_request_fields.py::test_every_field_reaches_every_request_of_a_batch": ("spread_batch", drops_a_field),
    "test_detokenizing.py::test_a_batch_is_each_alone": ("decode_batch", skips_special_ids),
    "test_pictures.py::test_reading_twice_is_reading_once": ("read_image", reads_another_time),
    "test_pictures.py::test_a_file_that_is_cut_short_is_refused": ("read_image", makes_up_rows),
    "test_pictures.py::test_pixels_are_normalized_as_published": ("normalize_image", by_frames_first),
    "test_block_keys.py::test_keys_know_nothing_of_what_follows": ("block_keys", blocks_of_their_own),
    "test_block_keys.py::test_another_text_changes_keys_from_its_block_on": ("block_keys", blocks_of_their_own),
    "test_reuse.py::test_positions_of_this_prompt_are_used": ("reuse_positions", never_uses),
    "test_lay_rows.py::test_rows_are_laid_in_order_and_text_stays": ("lay_rows", turns_rows),
    "test_lay_rows.py::test_as_many_rows_as_places_or_none_at_all": ("lay_rows", spreads_rows),
    "test_protocol.py::test_every_field_reaches_the_engine": ("read_request", takes_zero_for_nothing),
    "test_protocol.py::test_a_body_that_is_written_out_and_read_again_asks_the_same": (
        "read_request",
        forgets_the_seed,
    ),
    "test_protocol.py::test_null_is_as_good_as_nothing_or_refused": ("read_request", takes_null_for_one),
    "test_cache_keys.py::test_equal_images_have_equal_keys": ("item_key", key_of_the_moment),
    "test_chunk_rows.py::test_the_whole_prompt_gets_every_row_in_order": ("chunk_rows", loses_the_last_row),
    "test_families.py::test_images_are_placed_as_published": ("place_segments", turns_images),
    "test_families.py::test_videos_that_are_broader_than_long_are_placed_as_published": (
        "place_segments",
        turns_images,
    ),
    "test_families.py::test_text_after_a_long_video_comes_after_its_last_frame": ("place_segments", stops_time),
    "test_families.py::test_tokens_counted_by_size_are_those_that_run": ("measure_image", runs_one_more),
}
"""Property -> the capability that is made wrong, and how."""
