import pytest

from finetune.data.pixels import check_image_size, check_resize
from finetune.exceptions import ArgumentError, ImageSizeError


@pytest.mark.parametrize("size", [0, -1, 1.5, True, (8,), (8, 0), "8", (8, 8, 3), None, 10**30])
def test_wrong_image_size_is_refused(size: object):
    with pytest.raises(
        ImageSizeError, match=r"`image_size` must be a positive number of pixels or"
    ):
        check_image_size(size)  # type: ignore[arg-type]


def test_wrong_resize_is_refused():
    with pytest.raises(
        ArgumentError, match='`resize` must be one of "crop", "pad" and "squash", got \'stretch\''
    ):
        check_resize("stretch")
