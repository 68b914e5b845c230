/* Refuses a file that is too large for the server, before the upload widget reads it.

   Jupyter's server hangs up on messages of 10 MiB, and the demo would die without a word. The widget opens the file
   chooser by a click on a hidden input, so that is where we listen in. */
function refuseLargeFiles(maxBytes) {
  if (window.cmOriginalClick) return;  // the demo may be shown more than once on a page
  const originalClick = HTMLInputElement.prototype.click;
  window.cmOriginalClick = originalClick;

  HTMLInputElement.prototype.click = function () {
    const demo = this.type == 'file' && window.event?.target?.closest?.('.cm-demo');
    const message = demo && demo.querySelector('.cm-refused');
    if (message) {
      this.addEventListener('change', event => refuse(event, this.files[0], demo, message), {capture: true, once: true});
    }
    return originalClick.call(this);
  };

  function refuse(event, file, demo, message) {
    if (!file || file.size <= maxBytes) return;
    event.stopImmediatePropagation();
    demo.addEventListener('pointerdown', () => message.textContent = '', {once: true});
    const [size, limit] = [Math.round(file.size / 1e6), Math.floor(maxBytes / 1e6)];
    message.textContent = `${file.name}: ${size} MB, more than ${limit}; use a smaller file`;
  }
}
