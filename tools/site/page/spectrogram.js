/* Turn a sound into the mel spectrogram that the voice network reads, as cmlib/preparation/spectrograms.py does.

   22,050 Hz mono, windows of 1,310 samples every 655 samples, 128 Slaney mel bands of the power spectrum, decibels down
   to 100 below the loudest, scaled to 0...1. */

export const SAMPLE_RATE = 22050;
export const WINDOW_SAMPLES = 83200;  // samples in a spectrogram: 1 + 83,200 // 655 = 128 spectra
export const BANDS = 128;
const FRAMES = 128;
const FFT_SAMPLES = 1310;
const HOP = 655;
const FREQUENCIES = 656;
const TOP_DECIBELS = 100;
const SILENCE = 1e-4;       // a sound whose largest sample is below this says nothing
const LARGEST_RATIO = 640;  // other sampling rates are approximated by ratios of such numbers

/** Samples at `rate` hertz -> Float32Array (128 bands from low to high, 128 times) in 0...1; silence gives zeros. */
export function melSpectrogram(samples, rate) {
  const heard = padOrCrop(resample(samples, rate));
  const spectrogram = new Float32Array(BANDS * FRAMES);
  if (heard.every(sample => Math.abs(sample) < SILENCE)) return spectrogram;

  const decibels = melPower(heard).map(power => 10 * Math.log10(Math.max(1e-10, power)));
  const high = decibels.reduce((a, b) => Math.max(a, b), -Infinity);
  const lowest = decibels.reduce((a, b) => Math.min(a, b), Infinity);
  const low = Math.max(lowest, high - TOP_DECIBELS);
  const range = Math.max(1e-6, high - low);
  decibels.forEach((value, i) => { spectrogram[i] = (Math.max(low, value) - low) / range; });
  return spectrogram;
}

/** 83,200 samples: the middle of a longer sound, or a shorter one between two silences. */
export function padOrCrop(samples) {
  const spare = WINDOW_SAMPLES - samples.length;
  if (spare < 0) {
    const start = Math.floor(-spare / 2);
    return samples.slice(start, start + WINDOW_SAMPLES);
  }
  const padded = new Float32Array(WINDOW_SAMPLES);
  padded.set(samples, Math.floor(spare / 2));
  return padded;
}

// ------------------------------------------------------------------ another sampling rate

/** Samples at `rate` hertz -> at 22,050, by a windowed sinc with torchaudio's settings. */
export function resample(samples, rate) {
  if (rate === SAMPLE_RATE || !samples.length) return Float32Array.from(samples);
  const [to, from] = nearestRatio(SAMPLE_RATE, rate);
  const crossings = 6;                             // zero crossings of the sinc on each side
  const cutoff = 0.99 * Math.min(from, to);
  const width = Math.ceil(crossings * from / cutoff);
  const kernels = Array.from({length: to}, (_, phase) => kernelOf(phase, from, to, cutoff, width, crossings));

  const result = new Float32Array(Math.ceil(to * samples.length / from));
  for (let i = 0; i < result.length; i++) {
    const start = Math.floor(i / to) * from - width;
    let sum = 0;
    for (const [offset, weight] of kernels[i % to]) sum += weight * (samples[start + offset] ?? 0);
    result[i] = sum;
  }
  return result;
}

/** [offset, weight] of the samples that make a new sample of this phase. */
function kernelOf(phase, from, to, cutoff, width, crossings) {
  const kernel = [];
  for (let offset = 0; offset < 2 * width + from; offset++) {
    const t = cutoff * ((offset - width) / from - phase / to);
    if (Math.abs(t) >= crossings) continue;
    const window = Math.cos(t * Math.PI / crossings / 2) ** 2;
    const sinc = t === 0 ? 1 : Math.sin(Math.PI * t) / (Math.PI * t);
    kernel.push([offset, sinc * window * cutoff / from]);
  }
  return kernel;
}

/** `a` / `b` as a fraction whose denominator is at most 640, in lowest terms (continued fractions). */
function nearestRatio(a, b) {
  let [p0, q0, p1, q1] = [0, 1, 1, 0];
  let [n, d] = [a, b];
  while (d) {
    const whole = Math.floor(n / d);
    if (q0 + whole * q1 > LARGEST_RATIO) {
      // The best ratio lies between the last two convergents.
      const k = Math.floor((LARGEST_RATIO - q0) / q1);
      const between = [p0 + k * p1, q0 + k * q1];
      const error = ([p, q]) => Math.abs(p / q - a / b);
      return error([p1, q1]) <= error(between) ? [p1, q1] : between;
    }
    [p0, q0, p1, q1] = [p1, q1, p0 + whole * p1, q0 + whole * q1];
    [n, d] = [d, n - whole * d];
  }
  return [p1, q1];
}

// ------------------------------------------------------------------ mel bands

/** 83,200 samples -> power in each band and frame: Float64Array (128, 128). */
function melPower(samples) {
  const bands = melBands();
  const result = new Float64Array(BANDS * FRAMES);
  for (let frame = 0; frame < FRAMES; frame += 2) {
    const powers = powersOfTwoFrames(windowed(samples, frame), windowed(samples, frame + 1));
    powers.forEach((power, which) => {
      bands.forEach(({first, weights}, band) => {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * power[first + i];
        result[band * FRAMES + frame + which] = sum;
      });
    });
  }
  return result;
}

/** The samples around the middle of a frame under a Hann window; beyond the sound there is silence. */
function windowed(samples, frame) {
  const start = frame * HOP - FFT_SAMPLES / 2;
  return Float64Array.from({length: FFT_SAMPLES}, (_, i) => {
    const hann = 0.5 - 0.5 * Math.cos(2 * Math.PI * i / FFT_SAMPLES);
    return hann * (samples[start + i] ?? 0);
  });
}

let cachedBands = null;

/** The triangles of Slaney's mel scale, of equal area: first frequency and weights of each band. */
function melBands() {
  if (cachedBands) return cachedBands;
  const top = hertzToMel(SAMPLE_RATE / 2);
  const edges = Array.from({length: BANDS + 2}, (_, i) => melToHertz(top * i / (BANDS + 1)));
  cachedBands = Array.from({length: BANDS}, (_, band) => {
    const [low, centre, high] = edges.slice(band, band + 3);
    const all = Array.from({length: FREQUENCIES}, (_, i) => {
      const hertz = SAMPLE_RATE / 2 * i / (FREQUENCIES - 1);
      const rising = (hertz - low) / (centre - low), falling = (high - hertz) / (high - centre);
      return Math.max(0, Math.min(rising, falling)) * 2 / (high - low);
    });
    const first = Math.max(0, all.findIndex(weight => weight > 0));
    const weights = all.slice(first);
    while (weights.length && weights.at(-1) === 0) weights.pop();
    return {first, weights};
  });
  return cachedBands;
}

// Slaney's scale is linear up to 1,000 Hz and logarithmic above.
const HERTZ_PER_MEL = 200 / 3;
const LOG_FROM = 1000;
const LOG_STEP = Math.log(6.4) / 27;

function hertzToMel(hertz) {
  if (hertz < LOG_FROM) return hertz / HERTZ_PER_MEL;
  return LOG_FROM / HERTZ_PER_MEL + Math.log(hertz / LOG_FROM) / LOG_STEP;
}

function melToHertz(mel) {
  const logMel = LOG_FROM / HERTZ_PER_MEL;
  return mel < logMel ? mel * HERTZ_PER_MEL : LOG_FROM * Math.exp(LOG_STEP * (mel - logMel));
}

// ------------------------------------------------------------------ Fourier transform

/** Power at 656 frequencies of two real frames, from one transform: their spectra are its even and odd parts. */
function powersOfTwoFrames(first, second) {
  const {re, im} = transform(first, second);
  const powers = [new Float64Array(FREQUENCIES), new Float64Array(FREQUENCIES)];
  for (let i = 0; i < FREQUENCIES; i++) {
    const mirror = (FFT_SAMPLES - i) % FFT_SAMPLES;
    const [a, b, c, d] = [re[i], im[i], re[mirror], im[mirror]];
    powers[0][i] = ((a + c) ** 2 + (b - d) ** 2) / 4;
    powers[1][i] = ((b + d) ** 2 + (c - a) ** 2) / 4;
  }
  return powers;
}

/** The discrete Fourier transform of 1,310 complex samples (Bluestein 1970): a convolution with a chirp, which transforms
    of a power of two compute. */
function transform(re, im) {
  const {length, chirp, kernel} = bluestein();
  const x = {re: new Float64Array(length), im: new Float64Array(length)};
  for (let i = 0; i < FFT_SAMPLES; i++) {
    x.re[i] = re[i] * chirp.re[i] + im[i] * chirp.im[i];
    x.im[i] = im[i] * chirp.re[i] - re[i] * chirp.im[i];
  }
  powerOfTwoTransform(x, false);
  for (let i = 0; i < length; i++) {
    const [a, b] = [x.re[i], x.im[i]];
    x.re[i] = a * kernel.re[i] - b * kernel.im[i];
    x.im[i] = a * kernel.im[i] + b * kernel.re[i];
  }
  powerOfTwoTransform(x, true);
  for (let i = 0; i < FFT_SAMPLES; i++) {
    const [a, b] = [x.re[i] / length, x.im[i] / length];
    x.re[i] = a * chirp.re[i] + b * chirp.im[i];
    x.im[i] = b * chirp.re[i] - a * chirp.im[i];
  }
  return x;
}

let cachedBluestein = null;

/** The chirp exp(i pi k^2 / n), and its transform at the next power of two that holds the convolution. */
function bluestein() {
  if (cachedBluestein) return cachedBluestein;
  const length = 2 ** Math.ceil(Math.log2(2 * FFT_SAMPLES - 1));
  const chirp = {re: new Float64Array(FFT_SAMPLES), im: new Float64Array(FFT_SAMPLES)};
  const kernel = {re: new Float64Array(length), im: new Float64Array(length)};
  for (let k = 0; k < FFT_SAMPLES; k++) {
    const angle = Math.PI * ((k * k) % (2 * FFT_SAMPLES)) / FFT_SAMPLES;
    chirp.re[k] = Math.cos(angle);
    chirp.im[k] = Math.sin(angle);
    for (const place of [k, (length - k) % length]) {
      kernel.re[place] = chirp.re[k];
      kernel.im[place] = chirp.im[k];
    }
  }
  powerOfTwoTransform(kernel, false);
  cachedBluestein = {length, chirp, kernel};
  return cachedBluestein;
}

/** In place, without division by the length: Cooley & Tukey (1965), radix 2. */
function powerOfTwoTransform({re, im}, inverse) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {  // order by reversed bits
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  const {cos, sin} = circle(n);
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2, stride = n / size;
    for (let start = 0; start < n; start += size) {
      for (let k = 0; k < half; k++) {
        const c = cos[k * stride], s = inverse ? sin[k * stride] : -sin[k * stride];
        const even = start + k, odd = even + half;
        const a = re[odd] * c - im[odd] * s, b = re[odd] * s + im[odd] * c;
        re[odd] = re[even] - a;
        im[odd] = im[even] - b;
        re[even] += a;
        im[even] += b;
      }
    }
  }
}

const circles = new Map();

/** Cosines and sines of n / 2 equal steps over half a circle. */
function circle(n) {
  if (!circles.has(n)) {
    const angles = Float64Array.from({length: n / 2}, (_, i) => 2 * Math.PI * i / n);
    circles.set(n, {cos: angles.map(Math.cos), sin: angles.map(Math.sin)});
  }
  return circles.get(n);
}
