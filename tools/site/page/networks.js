/* The networks of the page: arrays in, arrays out.  They are computed in WebAssembly by ONNX Runtime, which is kept
   beside this file.  What each network takes and gives is written in tools/site/networks.py. */

import {PLAIN_PIXELS, pixelsOf} from './inputs.js';
import * as ort from './runtime/ort.wasm.bundle.min.mjs';
import {strangenessOf} from './strangeness.js';

const RUNTIME = './runtime/onnxruntime.wasm.gz';
const COMPONENTS = 'components';  // the name by which networks ask for them, as in tools/site/networks.py
const MEL_SHAPE = [128, 128];
const DETECTOR_SHAPE = [3, 128, 128];

/** Fetch the runtime.  Call it once, before anything else. */
export async function startRuntime() {
  ort.env.wasm.numThreads = 1;  // several need headers that a plain server does not send
  ort.env.wasm.proxy = true;    // compute in a worker, so that the page stays responsive meanwhile
  ort.env.wasm.wasmBinary = await unzipped(await fetched(RUNTIME));
}

/** The face finder: a Float32Array (3, 128, 128) in -1...1 -> {points, probabilities} of its anchors. */
export async function loadFaceFinder(file) {
  const session = await load(file);
  return async picture => {
    const output = await session.run({picture: tensor(picture, [1, ...DETECTOR_SHAPE])});
    return {points: output.points.data, probabilities: output.probabilities.data};
  };
}

/** The networks of one set, as the manifest describes them.  Pictures are Float32Arrays (3, size, size) in 0...1, and a
    latent is its mean. */
export class Networks {
  static async load(set) {
    const externalData = set.components ? [{path: COMPONENTS, data: await componentsOf(set.components)}] : [];
    const names = Object.keys(set.networks);
    const sessions = await Promise.all(names.map(name => {
      const hasComponents = name === 'encode_face' || name === 'decode';
      return load(set.networks[name], hasComponents ? {externalData} : {});
    }));
    return new Networks(set, Object.fromEntries(names.map((name, i) => [name, sessions[i]])));
  }

  constructor(set, sessions) {
    this.set = set;
    this.size = set.size;
    this.sessions = sessions;
  }

  /** A picture -> the face: its latent, its reconstruction, what is read in it alone, and how strange it is. */
  async encodeFace(picture) {
    const shape = [1, 3, this.size, this.size];
    const output = await this.sessions.encode_face.run({picture: tensor(picture, shape)});
    const mu = output.mu.data;
    const reconstruction = await this.decode(mu);
    return {
      networks: this,
      picture,
      mu,
      probabilities: output.probabilities.data,
      reconstruction,
      strangeness: strangenessOf(picture, reconstruction, mu, this.size, this.set.limits),
    };
  }

  /** A face of which only the latent is there: its picture is the decoded one. */
  async decodeFace(mu, probabilities) {
    const picture = await this.decode(mu);
    return {networks: this, picture, mu, probabilities, reconstruction: picture, strangeness: null};
  }

  /** A mel spectrogram (128, 128) -> the voice's latent. */
  async encodeVoice(mel) {
    const output = await this.sessions.encode_voice.run({mel: tensor(mel, [1, 1, ...MEL_SHAPE])});
    return output.mu.data;
  }

  /** A face and a voice's latent -> the probabilities of the classes, and the picture. */
  async perceive(face, voice, strength) {
    const {probabilities, mu} = await this.sessions.perceive.run({
      face_mu: tensor(face.mu), voice_mu: tensor(voice), strength: tensor(Float32Array.of(strength)),
    });
    // Without context the picture is the reconstruction, to the last digit.
    const picture = strength ? await this.decode(mu.data) : face.reconstruction;
    return {probabilities: probabilities.data, picture};
  }

  /** A latent mean -> a picture. */
  async decode(mu) {
    const output = await this.sessions.decode.run({mu: tensor(mu)});
    return output.picture.data;
  }
}

/** A batch of one: by default a vector.  The worker takes the numbers that it is given away, so it gets a copy. */
function tensor(values, shape = [1, values.length]) {
  return new ort.Tensor('float32', values.slice(), shape);
}

async function load(file, options = {}) {
  return ort.InferenceSession.create(new Uint8Array(await unzipped(await fetched(file))), options);
}

/** The principal components of a face network, whole numbers (count, 3, side, side), from their picture. */
async function componentsOf({file, columns, count, side}) {
  const bitmap = await createImageBitmap(new Blob([await fetched(file)]), PLAIN_PIXELS);
  const {width, pixels} = pixelsOf(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  const plane = side * side;
  const components = new Int8Array(3 * plane * count);
  for (let i = 0; i < count; i++) {
    const corner = Math.trunc(i / columns) * side * width + i % columns * side;
    for (let place = 0; place < plane; place++) {
      const from = 3 * (corner + Math.trunc(place / side) * width + place % side);
      for (let colour = 0; colour < 3; colour++)
        components[(3 * i + colour) * plane + place] = pixels[from + colour] - 128;
    }
  }
  return new Uint8Array(components.buffer);
}

async function fetched(file) {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file}: not there (${response.status}); build the site again`);
  return response.arrayBuffer();
}

/** Unzip, unless the server has already done so. */
async function unzipped(data) {
  const [first, second] = new Uint8Array(data, 0, 2);
  if (first !== 0x1f || second !== 0x8b) return data;
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).arrayBuffer();
}
