/* What the demo does: faces and voices are chosen, uploaded or recorded, the context is dragged, pictures are saved.

   A face that is strange to the networks of drawn people is drawn by those of photographs, if it is less strange to them.
   They are fetched when they are first needed.

   A drag shifts one latent, decodes one picture and redraws two small images and a few bars.  Strengths that arrive while
   one is drawn are skipped, but the last.  The row of all voices follows when the slider rests. */

import {channelsFirst, cropFace} from './crop.js';
import {recordVoice, startCamera} from './devices.js';
import {InputError, heardAsWav, pixelsOf, readPicture, readSound} from './inputs.js';
import {Networks, loadFaceFinder, startRuntime} from './networks.js';
import {
  differenceAddress, labelOf, make, pictureAddress, showBars, showHeadline, showRow, stripFile,
} from './view.js';

const REST_MILLISECONDS = 120;  // after this long without a drag, the row of all voices follows
const YOURS = 'yours';          // the value in a list of people that stands for the reader's own file
const HINT = 'At strength 0 the third picture equals the second; at 1 it is what the network learnt to perceive.';

const element = id => document.getElementById(id);

/** A list of people and a list of the emotions of the chosen one; `examples` are {actor, emotion, file}. */
class Chooser {
  constructor(actors, emotions, examples, react) {
    this.examples = examples;
    this.actors = actors;
    this.emotions = emotions;
    this.own = null;  // what the reader has uploaded, taken or recorded last
    actors.addEventListener('change', () => { this.offerEmotions(); react(); });
    emotions.addEventListener('change', react);
    const labels = new Map(examples.map(example => [example.actor, labelOfPerson(example)]));
    actors.replaceChildren(...[...labels].map(([value, textContent]) => make('option', {value, textContent})));
    this.offerEmotions();
  }

  ownOption() {
    return make('option', {value: YOURS, textContent: `yours: ${this.own.name}`});
  }

  offerEmotions(preferred = this.emotions.value) {
    this.emotions.disabled = this.isOwn;
    if (this.isOwn) return;
    const offered = this.ofActor().map(example => example.emotion);
    this.emotions.replaceChildren(...offered.map(emotion => make('option', {value: emotion, textContent: emotion})));
    this.emotions.value = offered.includes(preferred) ? preferred : offered[0];
  }

  get isOwn() {
    return this.actors.value === YOURS;
  }

  ofActor() {
    return this.examples.filter(example => example.actor === this.actors.value);
  }

  /** The chosen example, or what the reader has brought. */
  get chosen() {
    return this.isOwn ? this.own : this.ofActor().find(example => example.emotion === this.emotions.value);
  }

  choose([actor, emotion]) {
    this.actors.value = actor;
    this.offerEmotions(emotion);
  }

  add(own) {
    this.actors.querySelector(`[value=${YOURS}]`)?.remove();
    this.own = own;
    this.actors.prepend(this.ownOption());
    this.actors.value = YOURS;
    this.offerEmotions();
  }
}

function labelOfPerson({actor, latent}) {
  return latent === undefined ? `actor ${actor} (never trained on)` : `${actor} (a real person, decoded)`;
}

class Demo {
  constructor(manifest) {
    this.manifest = manifest;
    this.networks = new Map();  // promises of loaded networks, by the name of their set
    this.remarks = {face: [], voice: []};
    this.warnings = [];
    this.sounds = new Map();    // shipped voices by file
    this.isDrawing = false;
    this.drawings = 0;
    this.faces = new Chooser(
      element('face-actor'), element('face-emotion'), manifest.faces, () => this.guard(() => this.showFace()));
    this.voices = new Chooser(
      element('voice-actor'), element('voice-emotion'), manifest.voices, () => this.guard(() => this.playVoice()));
    this.connect();
  }

  connect() {
    const onClick = (id, act) => element(id).addEventListener('click', () => this.guard(act));
    element('strength').addEventListener('input', () => this.drag());
    onClick('best', () => this.showEffect('best'));
    onClick('worst', () => this.showEffect('worst'));
    onClick('reset', () => this.reset());
    onClick('save-picture', () => this.savePicture());
    onClick('save-strip', () => this.saveStrip());
    onClick('camera', () => this.useCamera());
    onClick('record', () => this.record());
    for (const [what, take] of [['picture', file => this.takePicture(file)], ['sound', file => this.takeSound(file)]]) {
      const input = element(`own-${what}-file`);
      element(`own-${what}`).addEventListener('click', () => input.click());
      input.addEventListener('change', () => {
        const [file] = input.files;
        if (file) this.guard(() => take(file));
        input.value = '';  // the next upload may be of the same name
      });
    }
  }

  /** Do something; an error becomes one line in the demo, which goes on. */
  async guard(act) {
    element('error').textContent = '';
    try {
      await act();
    } catch (error) {
      if (!(error instanceof InputError)) console.warn(error);
      element('error').textContent = error.message;
    }
  }

  /** The networks of a set, which are fetched when they are first needed. */
  async networksOf(name) {
    if (!this.networks.has(name)) {
      this.say(['The networks are being fetched …']);
      const loading = Networks.load(this.manifest.sets.find(set => set.name === name));
      this.networks.set(name, loading);
      loading.catch(() => this.networks.delete(name));  // so that the next try fetches them again
    }
    return this.networks.get(name);
  }

  get usualNetworks() {
    return this.networksOf(this.manifest.sets[0].name);
  }

  async findFace(picture) {
    this.faceFinder ??= await loadFaceFinder(this.manifest.find_face);
    return this.faceFinder(picture);
  }

  /** Back to how it opened. */
  async reset() {
    const [first] = this.manifest.voices;
    await this.choose([first.actor, 'neutral'], [first.actor, 'happy']);
  }

  async choose(face, voice) {
    element('strength').value = 1;
    this.faces.choose(face);
    this.voices.choose(voice);
    this.face = this.voice = null;  // so that nothing is drawn before both are there
    await Promise.all([this.showFace(), this.playVoice()]);
  }

  async showEffect(which) {
    const {face, voice, remark} = this.manifest.effects[which];
    await this.choose(face, voice);
    this.say([remark]);
  }

  // ---------------------------------------------------------------- faces

  async showFace() {
    const chosen = this.faces.chosen;
    chosen.face ??= await this.listedFace(chosen);
    if (chosen !== this.faces.chosen) return;  // another was chosen meanwhile
    this.face = chosen.face;
    this.remarks.face = chosen.remarks ?? (chosen.remark ? [chosen.remark] : []);
    this.warnings = chosen.warnings ?? [];
    await this.faceChanged();
  }

  /** A face of the list: a picture, or a stored latent. */
  async listedFace({file, set, latent, probabilities}) {
    if (latent === undefined) {
      const {picture} = await readPicture(await exampleFile(file));
      return encodeCrop(picture, await this.usualNetworks);
    }
    const networks = await this.networksOf(set);
    const latents = new Float32Array(await (await exampleFile(file)).arrayBuffer());
    const length = networks.set.latent;
    const mu = latents.slice(latent * length, (latent + 1) * length);
    return networks.decodeFace(mu, Float32Array.from(probabilities));
  }

  async faceChanged() {
    const {picture, reconstruction, networks: {size}} = this.face;
    element('original').src = pictureAddress(picture, size);
    element('reconstruction').src = pictureAddress(reconstruction, size);
    await this.draw();
    await this.compare();
  }

  async takePicture(file) {
    const {picture, notes} = await readPicture(file);
    await this.useOwnPicture(picture, file.name, notes);
  }

  /** Find the face in a picture, encode it with the networks that draw it better, and show it. */
  async useOwnPicture(picture, name, notes) {
    const usual = await this.usualNetworks;
    let {face, remarks} = await this.encodeOwn(picture, usual);
    const unlike = ({set: {title}}, strangeness) =>
      `${name}: unlike the faces that ${title} have learnt from (${strangeness.toFixed(1)} times the limit)`;
    const other = this.manifest.sets[1];
    if (other && face.strangeness > 1) {
      const drawn = await this.encodeOwn(picture, await this.networksOf(other.name));
      if (drawn.face.strangeness < face.strangeness) {
        const reason = `${unlike(usual, face.strangeness)}, so ${other.title} draw it`;
        ({face, remarks} = drawn);
        notes = [...notes, ...remarks.map(remark => `${name}: ${remark}`), reason];
        remarks = [];
      }
    }
    notes = [...notes, ...remarks.map(remark => `${name}: ${remark}`)];
    const warnings = [];
    if (face.strangeness > 1)
      warnings.push(`${unlike(face.networks, face.strangeness)}, so the answer may well be wrong`);
    this.faces.add({name, face, remarks: notes, warnings});
    await this.showFace();
  }

  /** What networks make of the face in a picture: {face, remarks}. */
  async encodeOwn(picture, networks) {
    const {crop, remarks} = await cropFace(picture, networks.size, small => this.findFace(small));
    return {face: await encodeCrop(crop, networks), remarks};
  }

  /** The first click shows the camera, the second takes a picture. */
  async useCamera() {
    const [button, video] = [element('camera'), element('camera-view')];
    if (!this.stopCamera) {
      this.stopCamera = await startCamera(video);
      video.hidden = false;
      button.textContent = 'take the picture';
      return;
    }
    const picture = pixelsOf(video, video.videoWidth, video.videoHeight);
    this.stopCamera();
    this.stopCamera = null;
    video.hidden = true;
    button.textContent = 'use the camera';
    await this.useOwnPicture(picture, 'camera', []);
  }

  // ---------------------------------------------------------------- voices

  async playVoice() {
    const chosen = this.voices.chosen;
    const sound = chosen.mel ? chosen : await this.listedSound(chosen);
    if (chosen !== this.voices.chosen) return;
    this.voice = sound;
    this.remarks.voice = sound.notes;
    this.offerSound(sound.wav);
    await this.draw();
    await this.compare();
  }

  offerSound(wav) {
    const player = element('player');
    if (player.src) URL.revokeObjectURL(player.src);
    player.src = URL.createObjectURL(wav);
  }

  /** A shipped voice, read when it is first needed. */
  async listedSound({file}) {
    if (!this.sounds.has(file)) this.sounds.set(file, await heardSound(await exampleFile(file)));
    return this.sounds.get(file);
  }

  async takeSound(file) {
    this.voices.add({name: file.name, ...await heardSound(file)});
    await this.playVoice();
  }

  async record() {
    const button = element('record');
    button.disabled = true;
    button.textContent = 'recording …';
    try {
      await this.takeSound(await recordVoice());
    } finally {
      button.disabled = false;
      button.textContent = 'record a voice';
    }
  }

  // ---------------------------------------------------------------- the answer

  get strength() {
    return element('strength').valueAsNumber;
  }

  /** Draw the newest strength; the row follows when the slider rests. */
  async drag() {
    this.drawings++;  // a row that is being drawn is out of date
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.guard(() => this.compare()), REST_MILLISECONDS);
    if (this.isDrawing) return;
    this.isDrawing = true;
    try {
      let drawn = null;
      while (drawn !== this.strength) {
        drawn = this.strength;
        await this.draw();
        await nextFrame();
      }
    } finally {
      this.isDrawing = false;
    }
  }

  /** Shift the face's latent, decode it, and show what changes with the strength. */
  async draw() {
    element('strength-value').textContent = this.strength.toFixed(2);
    const {face, voice, strength} = this;
    if (!face || !voice) return;
    const {networks} = face, {size, set: {classes}} = networks;
    const {probabilities, picture} = await networks.perceive(face, await latentOf(voice, networks), strength);
    if (face !== this.face) return;  // another has taken its place meanwhile
    this.perceived = {picture, probabilities, strength};
    const label = labelOf(probabilities, classes);
    element('perceived').src = pictureAddress(picture, size);
    element('perceived').alt = `the face as perceived with this voice, read as ${label}`;
    element('difference').src = differenceAddress(picture, face.reconstruction, size, this.manifest.colour_map);
    showHeadline(element('headline'), face.probabilities, probabilities, classes);
    showBars(element('bars'), face.probabilities, probabilities, classes, this.manifest.colours);
    const remarks = [...this.remarks.face, ...this.remarks.voice];
    this.say(remarks.length || this.warnings.length ? remarks : [HINT], this.warnings);
  }

  /** Show warnings and remarks above the pictures. */
  say(remarks, warnings = []) {
    element('notes').replaceChildren(
      ...warnings.map(textContent => make('div', {className: 'cm-warning', textContent})),
      ...remarks.map(textContent => make('div', {className: 'cm-note', textContent})));
  }

  /** Show this face with a voice of each class, of the actor whose voice is chosen. */
  async compare() {
    const {face, strength} = this;
    if (!face || !this.voice) return;
    const ticket = ++this.drawings;
    const {networks} = face, answers = [];
    for (const example of this.comparedVoices()) {
      const latent = await latentOf(await this.listedSound(example), networks);
      const {probabilities, picture} = await networks.perceive(face, latent, strength);
      answers.push({voice: example.emotion, picture, label: labelOf(probabilities, networks.set.classes)});
      await pause();  // let a drag come between
      if (ticket !== this.drawings) return;
    }
    this.row = answers;
    const chosen = this.voices.isOwn ? '' : this.voices.emotions.value;
    showRow(element('row'), answers, chosen, networks.size, this.manifest.colours);
  }

  comparedVoices() {
    const examples = this.manifest.voices;
    const actor = this.voices.isOwn ? examples[0].actor : this.voices.chosen.actor;
    return examples.filter(example => example.actor === actor);
  }

  // ---------------------------------------------------------------- saving

  async savePicture() {
    const {size, set: {classes}} = this.face.networks;
    const {picture, probabilities, strength} = this.perceived;
    const pictures = [this.face.picture, this.face.reconstruction, picture];
    const captions = [
      'original', `reconstruction: ${labelOf(this.face.probabilities, classes)}`,
      `perceived, t = ${strength}: ${labelOf(probabilities, classes)}`,
    ];
    save(await stripFile(pictures.map(each => pictureAddress(each, size)), captions), 'picture.png');
  }

  async saveStrip() {
    const {size} = this.face.networks;
    const pictures = [this.face.picture, ...this.row.map(answer => answer.picture)];
    const captions = ['original', ...this.row.map(({voice, label}) => `${voice} voice: ${label}`)];
    save(await stripFile(pictures.map(each => pictureAddress(each, size)), captions, 192), 'strip.png');
  }
}

function save(blob, name) {
  const link = make('a', {href: URL.createObjectURL(blob), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function encodeCrop(crop, networks) {
  return networks.encodeFace(channelsFirst(crop, value => value / 255));
}

/** A sound file -> {mel, wav, notes, latents}; the latents, by the name of a set, follow when they are needed. */
async function heardSound(file) {
  const {mel, samples, rate, notes} = await readSound(file);
  return {mel, wav: heardAsWav(samples, rate), notes, latents: new Map()};
}

/** The latent of a sound as these networks hear it. */
async function latentOf({mel, latents}, networks) {
  const {name} = networks.set;
  if (!latents.has(name)) latents.set(name, await networks.encodeVoice(mel));
  return latents.get(name);
}

async function exampleFile(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: not there (${response.status}); build the site again`);
  return new File([await response.blob()], address);
}

const nextFrame = () => new Promise(resolve => requestAnimationFrame(resolve));
const pause = () => new Promise(resolve => setTimeout(resolve));

async function start() {
  const [manifest] = await Promise.all([fetch('manifest.json').then(answer => answer.json()), startRuntime()]);
  const demo = new Demo(manifest);
  element('about-sets').textContent = manifest.sets.map(set => set.about).join(' ');
  document.documentElement.style.setProperty('--accent', manifest.accent);
  await demo.reset();
  element('demo').removeAttribute('aria-busy');
  for (const control of document.querySelectorAll('[data-waits]')) control.disabled = false;
}

start().catch(error => {
  console.warn(error);
  element('error').textContent = `the demo cannot start: ${error.message}`;
});
