"""Somebody in front of the demo, whoever shows it: Voilà, JupyterLab or the page."""

from pathlib import Path

PATIENCE = 300_000  # milliseconds; on a busy machine the page needs a while


class Somebody:
    """It has a ``page`` of playwright, and what the browser complained about."""

    def __init__(self, page):
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))

    def settled(self, look: str, pause: int) -> None:
        """Wait until what a script ``look`` sees has not changed for ``pause`` milliseconds."""
        before = None
        for _ in range(60):
            self.page.wait_for_timeout(pause)
            now = self.page.evaluate(look)
            if now == before:
                return
            before = now
        raise AssertionError("the page does not come to rest")

    def message(self) -> str:
        """The lines between the controls and the pictures."""
        return self.page.inner_text(".cm-lines").strip()

    def wait_for_message(self, words: str) -> str:
        """These lines, as soon as they hold ``words``."""
        self.page.wait_for_function(
            "t => document.querySelector('.cm-lines').innerText.includes(t)", arg=words
        )
        return self.message()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def choose_file(self, selector: str, path: Path) -> None:
        """Give a file to the file chooser that a button opens."""
        with self.page.expect_file_chooser() as chooser:
            self.page.locator(selector).click()
        chooser.value.set_files(path)
