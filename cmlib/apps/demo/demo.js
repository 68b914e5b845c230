/* Refuses a file that is too large for the server before the upload widget reads it, and hands recordings of the
   microphone and pictures of the camera to that widget as if they were files.

   Jupyter's server hangs up on messages of 10 MiB, and the demo would die without a word. The widget opens the file
   chooser by a click on a hidden input, so that is where we listen in. */
function setUpFiles(maxBytes, recordingSeconds) {
  if (window.cmOriginalClick) return;  // the demo may be shown more than once on a page
  const originalClick = HTMLInputElement.prototype.click;
  window.cmOriginalClick = originalClick;
  let captured = null;  // the file that the next click hands over in place of the file chooser

  HTMLInputElement.prototype.click = function () {
    const demo = this.type == 'file' && window.event?.target?.closest?.('.cm-demo');
    const message = demo && demo.querySelector('.cm-refused');
    if (demo && captured) {
      const files = new DataTransfer();
      files.items.add(captured);
      captured = null;
      this.files = files.files;
      return this.dispatchEvent(new Event('change'));
    }
    if (message) {
      this.addEventListener('change', event => refuse(event, this.files[0], demo, message), {capture: true, once: true});
    }
    return originalClick.call(this);
  };

  function refuse(event, file, demo, message) {
    if (!file || file.size <= maxBytes) return;
    event.stopImmediatePropagation();
    const [size, limit] = [Math.round(file.size / 1e6), Math.floor(maxBytes / 1e6)];
    say(demo, message, `${file.name}: ${size} MB, more than ${limit}; use a smaller file`);
  }

  function say(demo, message, text) {
    demo.addEventListener('pointerdown', () => message.textContent = '', {once: true});
    message.textContent = text;
  }

  /* ---- microphone and camera */

  document.addEventListener('click', async event => {
    const button = event.target.closest?.('.cm-demo .cm-capture');
    if (!button || button.disabled) return;
    const label = button.textContent;
    try {
      if (!navigator.mediaDevices) {
        throw new Error('the browser lends them only to pages of this computer (localhost) or over https');
      }
      const file = await (button.dataset.kind == 'sound' ? record(button) : photograph(button));
      captured = file;
      button.closest('.cm-panel').querySelector('.widget-upload').click();
    } catch (error) {
      const demo = button.closest('.cm-demo');
      const device = button.dataset.kind == 'sound' ? 'microphone' : 'camera';
      say(demo, demo.querySelector('.cm-refused'), `no ${device}: ${error.message}; use a file`);
    } finally {
      button.textContent = label;
      button.disabled = false;
    }
  });

  const pause = seconds => new Promise(resolve => setTimeout(resolve, 1000 * seconds));

  async function record(button) {
    button.disabled = true;
    const stream = await navigator.mediaDevices.getUserMedia({audio: true});
    const recorder = new MediaRecorder(stream);
    const parts = [];
    recorder.ondataavailable = event => parts.push(event.data);
    const stopped = new Promise(resolve => recorder.onstop = resolve);
    recorder.start();
    for (let left = recordingSeconds; left > 0; left--) {
      button.textContent = `speak now: ${left}`;
      await pause(1);
    }
    recorder.stop();
    await stopped;
    stream.getTracks().forEach(track => track.stop());
    const type = recorder.mimeType.split(';')[0];  // such as audio/webm
    return new File(parts, `recording.${type.split('/')[1]}`, {type});
  }

  async function photograph(button) {
    button.disabled = true;
    const stream = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 640}}});
    const video = document.createElement('video');
    Object.assign(video, {srcObject: stream, muted: true, playsInline: true, className: 'cm-preview'});
    button.before(video);
    try {
      await video.play();
      button.textContent = 'take the picture';
      button.disabled = false;
      await new Promise(resolve => button.addEventListener('click', event => {
        event.stopPropagation();  // so that this click does not open the camera again
        resolve();
      }, {once: true}));
      const canvas = document.createElement('canvas');
      [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
      canvas.getContext('2d').drawImage(video, 0, 0);
      const blob = await new Promise(resolve => canvas.toBlob(resolve, 'image/jpeg', 0.95));
      return new File([blob], 'camera.jpeg', {type: 'image/jpeg'});
    } finally {
      stream.getTracks().forEach(track => track.stop());
      video.remove();
    }
  }
}
