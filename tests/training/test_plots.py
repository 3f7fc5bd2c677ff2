import io
from xml.etree import ElementTree as Xml

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from training import plots
from training.calibration import calibration

CHOICES = np.random.default_rng(0)
ANSWERS, TARGETS = CHOICES.normal(size=(50, 3)), CHOICES.integers(0, 3, 50)
NUMBERS = CHOICES.normal(size=50)


@pytest.mark.parametrize(
    "plot",
    [
        plots.confusion(np.eye(3, dtype=np.int64), ("$x$", "日本", "<b>")),
        plots.confusion(np.eye(80, dtype=np.int64), tuple(map(str, range(80)))),
        plots.reliability(calibration(ANSWERS, TARGETS)),
        plots.residuals(NUMBERS, NUMBERS[::-1], "$"),
        plots.residuals(np.ones(3), np.ones(3), "USD"),
        plots.novelty(NUMBERS, NUMBERS > 0),
    ],
)
def test_each_is_a_picture_of_its_own_that_fetches_nothing(plot: plots.Plot) -> None:
    assert plot.media_type == "image/svg+xml"
    root = Xml.fromstring(plot.data)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    for element in root.iter():
        links = [value for name, value in element.attrib.items() if name.endswith("href")]
        assert all(link.startswith("#") for link in links if not link.startswith("data:"))


def test_a_point_for_each_sample_is_a_png() -> None:
    plot = plots.predicted(NUMBERS, NUMBERS + 1, "$ per _m_")
    assert plot.media_type == "image/png"
    assert Image.open(io.BytesIO(plot.data)).size == (600, 600)


def test_the_same_plot_is_the_same_bytes_and_nothing_global_changes() -> None:
    before = dict(mpl.rcParams)
    first, second = (plots.novelty(NUMBERS, NUMBERS > 0).data for _ in range(2))
    assert first == second
    assert dict(mpl.rcParams) == before
