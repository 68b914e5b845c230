/* The networks of the page: arrays in, arrays out.  They are computed in WebAssembly by ONNX Runtime, which is kept
   beside this file.  What each network takes and gives is written in tools/site/networks.py. */

import * as ort from './runtime/ort.wasm.bundle.min.mjs';

const RUNTIME = './runtime/onnxruntime.wasm.gz';
const MEL_SHAPE = [128, 128];
const DETECTOR_SHAPE = [3, 128, 128];

/** Fetch the runtime.  Call it once, before anything else. */
export async function startRuntime() {
  ort.env.wasm.numThreads = 1;  // several need headers that a plain server does not send
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

/** The networks of one set.  Pictures are Float32Arrays (3, size, size) in 0...1. */
export class Networks {
  static async load({size, networks}) {
    const names = Object.keys(networks);
    const sessions = await Promise.all(names.map(name => load(networks[name])));
    return new Networks(size, Object.fromEntries(names.map((name, i) => [name, sessions[i]])));
  }

  constructor(size, sessions) {
    this.size = size;
    this.sessions = sessions;
  }

  /** A picture -> the face: its Gaussian {mu, logvar}, its reconstruction, what is read in it alone. */
  async encodeFace(picture) {
    const shape = [1, 3, this.size, this.size];
    const output = await this.sessions.encode_face.run({picture: tensor(picture, shape)});
    return {
      picture,
      mu: output.mu.data,
      logvar: output.logvar.data,
      probabilities: output.probabilities.data,
      reconstruction: await this.decode(output.mu.data),
    };
  }

  /** A mel spectrogram (128, 128) -> the voice's Gaussian {mu, logvar}. */
  async encodeVoice(mel) {
    const output = await this.sessions.encode_voice.run({mel: tensor(mel, [1, 1, ...MEL_SHAPE])});
    return {mu: output.mu.data, logvar: output.logvar.data};
  }

  /** A face in the context of a voice: the probabilities of the classes, and the picture. */
  async perceive(face, voice, strength) {
    const {probabilities, mu} = await this.sessions.perceive.run({
      face_mu: tensor(face.mu),
      face_logvar: tensor(face.logvar),
      voice_mu: tensor(voice.mu),
      voice_logvar: tensor(voice.logvar),
      strength: tensor(Float32Array.of(strength)),
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

/** A batch of one: by default a vector. */
function tensor(values, shape = [1, values.length]) {
  return new ort.Tensor('float32', values, shape);
}

async function load(file) {
  return ort.InferenceSession.create(new Uint8Array(await fetched(file)));
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
