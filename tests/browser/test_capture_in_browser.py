"""Camera and microphone hand over files as the upload button would, in a page without a kernel.

Chromium plays a test picture and beeps in place of the devices.
"""

import base64

import numpy as np
import pytest

from cmlib.apps.demo import html
from cmlib.preparation import media
from cmlib.preparation.inputs import open_picture

ADDRESS = "http://localhost/demo"  # browsers lend their devices to pages of this computer
# The upload widget is a button that clicks a hidden input, as that of ipywidgets is.
WIDGET = """
const upload = document.querySelector('.widget-upload'), input = document.createElement('input');
input.type = 'file';
upload.addEventListener('click', () => input.click());
input.addEventListener('change', async () => {
  const file = input.files[0], reader = new FileReader();
  reader.onload = () => window.taken = [file.name, reader.result.split(',')[1]];
  reader.readAsDataURL(file);
});
"""


@pytest.fixture
def page(browser, request):
    """The script of the demo, an upload button and the button of one kind of device."""
    button = html.capture_button(request.param, "take", "take it")
    body = (
        f"<div class='cm-demo'>{html.page_setup(9_000_000, 2)}<div class='cm-refused'></div>"
        f"<div class='cm-panel'><button class='widget-upload'>upload</button>{button}</div></div>"
        f"<script>{WIDGET}</script>"
    )
    page = browser.new_page()
    page.route(ADDRESS, lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto(ADDRESS)
    yield page
    page.close()


def taken(page, folder):
    """The file that the upload button was given."""
    page.wait_for_function("window.taken", timeout=60_000)
    name, content = page.evaluate("window.taken")
    path = folder / name
    path.write_bytes(base64.b64decode(content))
    return path


@pytest.mark.parametrize("page", ["sound"], indirect=True)
def test_a_recording_can_be_heard(page, tmp_path):
    page.click(".cm-capture")
    page.get_by_text("speak now").wait_for()
    sound, rate = media.read_audio(taken(page, tmp_path))
    assert 1.5 < len(sound) / rate < 3
    assert np.abs(sound).max() > 0.01, "the beep of the test device"
    assert page.inner_text(".cm-capture") == "take"


@pytest.mark.parametrize("page", ["picture"], indirect=True)
def test_a_picture_can_be_seen(page, tmp_path):
    page.click(".cm-capture")
    page.get_by_text("take the picture").click()
    picture = np.asarray(open_picture(taken(page, tmp_path)))
    assert picture.shape[0] > 100 and picture.std() > 10
    assert page.locator(".cm-preview").count() == 0
    page.get_by_text("take", exact=True).wait_for()


@pytest.mark.parametrize("page", ["sound"], indirect=True)
def test_a_device_that_is_refused_is_one_line(page):
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia ="
        " () => Promise.reject(Error('Permission denied')) }"
    )
    page.click(".cm-capture")
    page.get_by_text("no microphone: Permission denied; use a file").wait_for()
    assert page.inner_text(".cm-capture") == "take"
