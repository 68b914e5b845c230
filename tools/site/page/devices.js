/* The reader's camera and microphone.  What they give stays in the page. */

import {InputError} from './inputs.js';

const RECORDED_SECONDS = 3.8;  // as long as the voice network hears
const UNPROCESSED = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};

/** Show the camera in a <video>; returns a function that switches it off. */
export async function startCamera(video) {
  const stream = await streamOf({video: {facingMode: 'user'}}, 'camera');
  video.srcObject = stream;
  await video.play();
  return () => {
    video.srcObject = null;
    stop(stream);
  };
}

/** Record the microphone for 3.8 seconds -> a sound file. */
export async function recordVoice() {
  const stream = await streamOf({audio: UNPROCESSED}, 'microphone');
  try {
    const recorder = new MediaRecorder(stream);
    const pieces = [];
    recorder.addEventListener('dataavailable', event => pieces.push(event.data));
    const stopped = new Promise(resolve => recorder.addEventListener('stop', resolve, {once: true}));
    recorder.start();
    await new Promise(resolve => setTimeout(resolve, 1000 * RECORDED_SECONDS));
    recorder.stop();
    await stopped;
    return new File(pieces, 'recording', {type: recorder.mimeType});
  } finally {
    stop(stream);
  }
}

async function streamOf(wanted, name) {
  if (!navigator.mediaDevices)
    throw new InputError(`the ${name} can be used only on a page from https or from this computer; upload a file`);
  try {
    return await navigator.mediaDevices.getUserMedia(wanted);
  } catch (error) {
    throw new InputError(`the ${name} cannot be used (${error.message}); allow it, or upload a file`);
  }
}

function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
}
