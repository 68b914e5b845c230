/* Read a reader's pictures and sounds, or refuse them with one clear line, as cmlib/preparation/inputs.py does.

   Nothing in here sends anything: files are decoded by the browser. */

import {SAMPLE_RATE, WINDOW_SAMPLES, melSpectrogram} from './spectrogram.js';

const MAX_FILE_BYTES = 100e6;
const MAX_PIXELS = 25e6;  // of a picture that is not a JPEG
const MAX_SIDE = 1600;    // larger pictures are scaled down to this before the face is searched for
const MIN_SOUND_SECONDS = 0.3;
const MAX_SOUND_MINUTES = 10;
const WINDOW_SECONDS = WINDOW_SAMPLES / SAMPLE_RATE;
const USUAL_RATE = 48000;
const VIDEO_SECONDS = 10; // how long we wait for a video to show its middle

/** How the browser decodes a picture without changing its colours. */
export const PLAIN_PIXELS = {colorSpaceConversion: 'none', premultiplyAlpha: 'none'};

/** An input that cannot be used; the message names it, the fault and the remedy. */
export class InputError extends Error {}

// ------------------------------------------------------------------ pictures

/** A picture file, or the middle frame of a video -> {picture: {width, height, pixels}, notes}. */
export async function readPicture(file) {
  checkSize(file);
  if (file.type.startsWith('video/')) {
    const picture = await middleFrame(file);
    return {picture, notes: [`${file.name}: a video, its middle frame was taken`]};
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, PLAIN_PIXELS);
  } catch {
    throw new InputError(
      `${file.name}: not a readable picture (no picture inside); use a PNG or JPEG file`);
  }
  const pixels = bitmap.width * bitmap.height;
  if (pixels > MAX_PIXELS && file.type !== 'image/jpeg') {
    bitmap.close();
    const [size, limit] = [pixels, MAX_PIXELS].map(count => (count / 1e6).toFixed(0));
    throw new InputError(
      `${file.name}: ${size} megapixels, more than ${limit}; make it smaller, or save it as a JPEG`);
  }
  const picture = pixelsOf(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  return {picture, notes: []};
}

/** What a canvas can draw as bytes red, green, blue, at most 1,600 pixels wide and high, on white. */
export function pixelsOf(source, width, height) {
  const shrink = Math.min(1, MAX_SIDE / Math.max(width, height));
  const [wide, tall] = [width, height].map(side => Math.max(1, Math.round(side * shrink)));
  const canvas = new OffscreenCanvas(wide, tall);
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.fillStyle = 'white';
  context.fillRect(0, 0, wide, tall);
  context.imageSmoothingQuality = 'high';
  context.drawImage(source, 0, 0, wide, tall);
  const colours = context.getImageData(0, 0, wide, tall).data;
  const pixels = new Uint8Array(3 * wide * tall);
  for (let from = 0, to = 0; from < colours.length; from += 4, to += 3)
    pixels.set(colours.subarray(from, from + 3), to);
  return {width: wide, height: tall, pixels};
}

async function middleFrame(file) {
  const video = document.createElement('video');
  const address = URL.createObjectURL(file);
  try {
    video.muted = true;
    video.src = address;
    await eventOf(video, 'loadeddata');
    if (Number.isFinite(video.duration)) {
      video.currentTime = video.duration / 2;
      await eventOf(video, 'seeked');
    }
    return pixelsOf(video, video.videoWidth, video.videoHeight);
  } catch {
    throw new InputError(`${file.name}: not a readable video, or cut short; copy or download it again`);
  } finally {
    URL.revokeObjectURL(address);
  }
}

function eventOf(element, name) {
  return new Promise((resolve, reject) => {
    element.addEventListener(name, resolve, {once: true});
    element.addEventListener('error', reject, {once: true});
    setTimeout(reject, 1000 * VIDEO_SECONDS);
  });
}

// ------------------------------------------------------------------ sounds

/** A sound or video file -> {mel, samples, rate, notes}; `samples` are mono and of full scale 1. */
export async function readSound(file) {
  checkSize(file);
  const bytes = await file.arrayBuffer();
  const rate = rateOf(new DataView(bytes));
  let sound;
  try {
    sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
  } catch {
    throw new InputError(
      `${file.name}: no readable sound inside; use a WAV, FLAC, MP3 or M4A file`);
  }
  return heardSound(mono(sound), rate, file.name);
}

function heardSound(samples, rate, name) {
  const seconds = samples.length / rate;
  if (seconds < MIN_SOUND_SECONDS)
    throw new InputError(
      `${name}: ${seconds.toFixed(2)} s of sound is too short; use at least ${MIN_SOUND_SECONDS} s`);
  if (seconds > 60 * MAX_SOUND_MINUTES)
    throw new InputError(
      `${name}: ${(seconds / 60).toFixed(0)} minutes of sound, more than ${MAX_SOUND_MINUTES}; cut it`);
  const mel = melSpectrogram(samples, rate);
  const notes = [];
  if (samples.length > WINDOW_SECONDS * rate + 1)
    notes.push(`${name}: only the middle ${WINDOW_SECONDS.toFixed(1)} s are heard`);
  if (mel.every(value => value === 0)) notes.push(`${name}: silent, so it says nothing`);
  return {mel, samples, rate, notes};
}

/** The mean of the channels. */
function mono(sound) {
  const samples = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; channel++)
    evenlyScaled(sound.getChannelData(channel)).forEach((value, i) => {
      samples[i] += value / sound.numberOfChannels;
    });
  return samples;
}

/** Samples of 16 bits in 32,768ths.

    Some browsers divide positive samples by 32,767 and negative ones by 32,768.  That distorts the sound at the lower end
    of the spectrogram, 100 decibels below the loudest.  Samples that were not of 16 bits are left as they are. */
function evenlyScaled(samples) {
  const whole = samples.map(value => Math.round(value * (value > 0 ? 32767 : 32768)));
  const isUneven = samples.every((value, i) => Math.abs(value * (value > 0 ? 32767 : 32768) - whole[i]) < 0.01);
  return isUneven ? whole.map(value => value / 32768) : samples;
}

/** The sampling rate that a file says it has.  Where it is hidden, the browser brings the sound to a usual one. */
function rateOf(data) {
  const text = (start, length) => String.fromCharCode(...Array.from({length}, (_, i) => data.getUint8(start + i)));
  if (data.byteLength > 28 && text(0, 4) === 'RIFF' && text(12, 4) === 'fmt ') return usable(data.getUint32(24, true));
  if (data.byteLength > 21 && text(0, 4) === 'fLaC') return usable(data.getUint32(18) >>> 12);
  return USUAL_RATE;
}

function usable(rate) {
  return rate >= 8000 && rate <= 96000 ? rate : USUAL_RATE;
}

function checkSize(file) {
  if (!file.size) throw new InputError(`${file.name}: an empty file; copy or download it again`);
  if (file.size > MAX_FILE_BYTES) {
    const [size, limit] = [file.size, MAX_FILE_BYTES].map(bytes => (bytes / 1e6).toFixed(0));
    throw new InputError(`${file.name}: ${size} MB, more than ${limit}; use a smaller file`);
  }
}

/** The middle of a sound that the network hears, as a WAV file of 16 bits for a player. */
export function heardAsWav(samples, rate) {
  const surplus = Math.max(0, samples.length - Math.round(WINDOW_SECONDS * rate));
  const start = Math.floor(surplus / 2);
  const heard = samples.subarray(start, samples.length - (surplus - start));
  const data = new DataView(new ArrayBuffer(44 + 2 * heard.length));
  const write = (start, text) => [...text].forEach((letter, i) => data.setUint8(start + i, letter.charCodeAt(0)));
  write(0, 'RIFF');
  data.setUint32(4, 36 + 2 * heard.length, true);
  write(8, 'WAVEfmt ');
  data.setUint32(16, 16, true);       // bytes of the description that follows
  data.setUint16(20, 1, true);        // whole numbers
  data.setUint16(22, 1, true);        // one channel
  data.setUint32(24, rate, true);
  data.setUint32(28, 2 * rate, true); // bytes in a second
  data.setUint16(32, 2, true);        // bytes of a sample
  data.setUint16(34, 16, true);       // its bits
  write(36, 'data');
  data.setUint32(40, 2 * heard.length, true);
  heard.forEach((value, i) => data.setInt16(44 + 2 * i, 32767 * Math.min(1, Math.max(-1, value)), true));
  return new Blob([data], {type: 'audio/wav'});
}
