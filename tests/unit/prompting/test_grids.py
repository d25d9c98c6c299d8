"""The grid pixel by pixel: where cells, pictures and marks stand, what is blank, which modes are drawn."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mmrerank.errors import InputError
from mmrerank.prompting.grids import Layout, draw_grid, fitted, write_grid

Pixels = npt.NDArray[np.uint8]
WHITE, BLACK, ORANGE = (255, 255, 255), (0, 0, 0), (250, 120, 10)


def solid(colour: tuple[int, int, int] = ORANGE, size: tuple[int, int] = (30, 20)) -> Image.Image:
    return Image.new("RGB", size, colour)


def shade(number: int) -> tuple[int, int, int]:
    return (40 + 8 * number, 200 - 7 * number, 90)


def inside(grid: Image.Image, box: tuple[int, int, int, int]) -> Pixels:
    return np.asarray(grid.crop(box))


def without_marks(layout: Layout, count: int, size: tuple[int, int]) -> Pixels:
    """The grid as it must look under its marks, drawn anew with slices."""
    expected = np.full((layout.canvas_px, layout.canvas_px, 3), 255, dtype=np.uint8)
    for position in range(count):
        left, top, right, bottom = layout.picture(position, size)
        expected[top:bottom, left:right] = shade(position)
    return expected


@pytest.mark.parametrize(("side", "px"), [(1, 352), (2, 696), (3, 1040), (4, 1384), (5, 1728)])
def test_the_canvas_is_n_cells_and_n_plus_1_gutters(side: int, px: int) -> None:
    assert Layout(side=side).canvas_px == side * 336 + (side + 1) * 8 == px
    assert draw_grid([solid()] * side**2).size == (px, px)


def test_cells_go_row_by_row() -> None:
    layout = Layout(side=4)
    assert layout.cell(0) == (8, 8, 344, 344)
    assert layout.cell(3) == (8 + 3 * 344, 8, 8 + 3 * 344 + 336, 344)
    assert layout.cell(4) == (8, 352, 344, 688)
    assert layout.cell(15) == (1040, 1040, 1376, 1376)


@pytest.mark.parametrize("count", range(1, 26))
def test_every_pixel_outside_the_marks_is_picture_or_white(count: int) -> None:
    layout = Layout(side=next(n for n in range(1, 6) if n * n >= count), cell_px=48, gutter_px=4)
    grid = np.asarray(draw_grid([solid(shade(n)) for n in range(count)], cell_px=48, gutter_px=4))
    expected = without_marks(layout, count, (30, 20))
    assert grid.shape == expected.shape
    marked = np.zeros(grid.shape[:2], dtype=bool)
    for position in range(count):
        left, top, right, bottom = layout.mark(position)
        marked[top:bottom, left:right] = True
    assert (grid[~marked] == expected[~marked]).all()
    assert marked.sum() < grid.shape[0] * grid.shape[1] / 4


@pytest.mark.parametrize("number", [1, 4, 10, 25])
def test_a_mark_is_a_black_number_on_a_white_box_with_a_black_border(number: int) -> None:
    layout = Layout(side=5)
    grid = draw_grid([solid(shade(n), (50, 50)) for n in range(number)], side=5)
    left, top, right, bottom = layout.mark(number - 1)
    assert (left, top) == layout.cell(number - 1)[:2]
    assert bottom - top == layout.mark_px == 42
    box, border = inside(grid, (left, top, right, bottom)), layout.border_px
    assert (box[:border] == 0).all()
    assert (box[-border:] == 0).all()
    assert (box[:, :border] == 0).all()
    assert (box[:, -border:] == 0).all()
    field = box[border:-border, border:-border]
    assert (field[:2] == 255).all()  # the number touches no side of its box
    assert (field[-2:] == 255).all()
    assert (field[:, :2] == 255).all()
    assert (field[:, -2:] == 255).all()
    assert (field == 0).any()
    assert (np.ptp(field, axis=2) == 0).all()  # nothing of the picture shines through


def test_the_number_stands_in_the_middle_and_is_as_high_as_the_box_lets_it() -> None:
    layout = Layout(side=1)
    left, top, right, bottom = layout.mark(0)
    field = inside(draw_grid([solid()]), (left + 3, top + 3, right - 3, bottom - 3))
    rows, columns = np.nonzero(field.mean(axis=2) < 128)
    assert 24 <= rows.max() + 1 - rows.min() <= 26
    assert abs(rows.min() - (len(field) - 1 - rows.max())) <= 2
    assert abs(columns.min() - (field.shape[1] - 1 - columns.max())) <= 2


def test_the_box_grows_with_the_digits_and_marks_differ() -> None:
    layout = Layout(side=11)
    widths = [layout.mark(n - 1)[2] - layout.mark(n - 1)[0] for n in (8, 88, 118)]
    assert widths == sorted(set(widths))
    assert widths[0] == layout.mark_px
    grid, small = draw_grid([solid(WHITE)] * 16), Layout(side=4)
    marks = [inside(grid, small.mark(n)) for n in range(16)]
    assert all(a.shape != b.shape or (a != b).any() for a, b in combinations(marks, 2))


@pytest.mark.parametrize("cell_px", [24, 37, 72, 100, 336, 500])
def test_marks_lie_inside_their_cells_at_any_size(cell_px: int) -> None:
    layout = Layout(side=10, cell_px=cell_px, gutter_px=0)
    for position in range(100):
        cell, mark = layout.cell(position), layout.mark(position)
        assert cell[0] == mark[0] < mark[2] <= cell[2]
        assert cell[1] == mark[1] < mark[3] <= cell[3]
    assert draw_grid([solid()] * 100, cell_px=cell_px, gutter_px=0).width == 10 * cell_px


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((300, 100), (8, 120, 344, 232)),  # landscape: as wide as the cell, white above and below
        ((100, 300), (120, 8, 232, 344)),  # portrait
        ((50, 50), (8, 8, 344, 344)),  # enlarged
        ((4000, 4000), (8, 8, 344, 344)),
        ((1000, 3), (8, 175, 344, 176)),  # never thinner than a pixel
    ],
)
def test_a_picture_fits_its_cell_with_its_aspect_kept_and_stands_in_the_middle(
    size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    layout = Layout(side=1)
    assert layout.picture(0, size) == box
    grid = np.asarray(draw_grid([solid(ORANGE, size)]))
    left, top, right, bottom = box
    assert tuple(grid[(top + bottom) // 2, right - 1]) == ORANGE
    expected = np.full_like(grid, 255)
    expected[top:bottom, left:right] = ORANGE
    mark = layout.mark(0)
    expected[mark[1] : mark[3], mark[0] : mark[2]] = grid[mark[1] : mark[3], mark[0] : mark[2]]
    assert (grid == expected).all()


def test_fitting_twice_changes_nothing_more() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (61, 113, 3), dtype=np.uint8))
    once = fitted(noise, 336)
    assert once.size == (336, 181)
    assert fitted(once, 336) == once


def palette() -> Image.Image:
    return solid().quantize(4)


def see_through() -> Image.Image:
    picture = Image.new("RGBA", (30, 20), (*ORANGE, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 15, 20))
    return picture


@pytest.mark.parametrize(
    ("picture", "left_half", "right_half"),
    [
        (solid(), ORANGE, ORANGE),
        (Image.new("L", (30, 20), 77), (77, 77, 77), (77, 77, 77)),
        (Image.new("1", (30, 20), 0), BLACK, BLACK),
        (see_through(), WHITE, ORANGE),  # transparent parts are white
        (Image.new("LA", (30, 20), (77, 255)), (77, 77, 77), (77, 77, 77)),
        (palette(), ORANGE, ORANGE),
        (Image.new("CMYK", (30, 20), (0, 255, 255, 0)), (255, 0, 0), (255, 0, 0)),
        (Image.new("I;16", (30, 20), 257 * 77), (77, 77, 77), (77, 77, 77)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_every_mode_is_drawn_as_rgb(picture: Image.Image, left_half: tuple[int, int, int], right_half: tuple[int, int, int]) -> None:
    grid = draw_grid([picture])
    assert grid.mode == "RGB"
    assert grid.getpixel((60, 200)) == left_half
    assert grid.getpixel((290, 200)) == right_half


def test_exif_orientation_is_applied_and_the_picture_given_stays_as_it_is() -> None:
    picture = solid(size=(30, 10))
    picture.getexif()[0x0112] = 6  # a quarter turn to the right
    before = picture.copy()
    assert fitted(picture, 336).size == (112, 336)
    draw_grid([picture])
    assert picture == before
    assert picture.getexif()[0x0112] == 6


def test_cells_left_over_are_blank_and_have_no_mark() -> None:
    grid = draw_grid([solid(shade(n)) for n in range(5)])
    layout = Layout(side=3)
    for position in range(5, 9):
        assert (inside(grid, layout.cell(position)) == 255).all()
    wide = draw_grid([solid()], side=4)
    assert wide.width == 1384
    assert (inside(wide, (344, 0, 1384, 1384)) == 255).all()


def test_the_same_pictures_give_the_same_bytes() -> None:
    pictures = [solid(shade(n)) for n in range(7)]
    assert draw_grid(pictures).tobytes() == draw_grid(pictures).tobytes()


@pytest.mark.parametrize(("count", "options"), [(0, {}), (5, {"side": 2}), (1, {"cell_px": 10}), (1, {"gutter_px": -1}), (1, {"side": 0})])
def test_what_cannot_be_drawn_is_refused(count: int, options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="got"):
        draw_grid([solid()] * count, **options)


@pytest.mark.parametrize(
    ("query_id", "name"),
    [
        ("q-7_a", "q-7_a.png"),
        ("../../etc/passwd", "_etc_passwd-"),
        ("Straße 5", "Stra_e_5-"),
        (".", "_-"),
        ("a/b", "a_b-"),
        ("x" * 300, "x" * 80),
    ],
)
def test_a_grid_is_written_inside_the_folder_whatever_the_id(tmp_path: Path, query_id: str, name: str) -> None:
    folder = tmp_path / "new" / "grids"
    path = write_grid(solid(), folder, query_id)
    assert path.parent == folder
    assert path.name.startswith(name)
    assert [file.name for file in folder.iterdir()] == [path.name]
    with Image.open(path) as written:
        assert written.size == (30, 20)


def test_unlike_ids_are_unlike_files(tmp_path: Path) -> None:
    assert write_grid(solid(), tmp_path, "a/b") != write_grid(solid(), tmp_path, "a:b")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_grid(solid(), tmp_path / "file", "q")
