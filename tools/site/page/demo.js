/* What the demo does: faces and voices are chosen, uploaded or recorded, the context is dragged, pictures are saved.

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
  constructor(actors, emotions, react) {
    this.actors = actors;
    this.emotions = emotions;
    this.own = null;  // what the reader has uploaded, taken or recorded last
    actors.addEventListener('change', () => { this.offerEmotions(); react(); });
    emotions.addEventListener('change', react);
  }

  offer(examples) {
    this.examples = examples;
    const numbers = [...new Set(examples.map(example => example.actor))];
    this.actors.replaceChildren(
      ...(this.own ? [this.ownOption()] : []),
      ...numbers.map(actor => make('option', {value: actor, textContent: `actor ${actor} (never trained on)`})));
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
    return this.examples.filter(example => String(example.actor) === this.actors.value);
  }

  /** The chosen example, or what the reader has brought. */
  get chosen() {
    return this.isOwn ? this.own : this.ofActor().find(example => example.emotion === this.emotions.value);
  }

  choose(emotion) {
    this.actors.value = String(this.examples[0].actor);
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

class Demo {
  constructor(manifest, findFace) {
    this.manifest = manifest;
    this.findFace = findFace;
    this.notes = {face: [], voice: []};
    this.voices = new Map();  // encoded voices by file
    this.isDrawing = false;
    this.drawings = 0;
    this.faces = new Chooser(element('face-actor'), element('face-emotion'), () => this.guard(() => this.showFace()));
    this.sounds = new Chooser(element('voice-actor'), element('voice-emotion'), () => this.guard(() => this.playVoice()));
    this.connect();
  }

  connect() {
    const onClick = (id, act) => element(id).addEventListener('click', () => this.guard(act));
    element('set').addEventListener('change', () => this.guard(() => this.useSet(element('set').value)));
    element('strength').addEventListener('input', () => this.drag());
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

  async useSet(name) {
    this.set = this.manifest.sets.find(set => set.name === name);
    element('about-set').textContent = this.set.about;
    this.networks = await Networks.load(this.set);
    this.voices.clear();
    this.faces.own = this.sounds.own = null;
    this.faces.offer(this.set.faces);
    this.sounds.offer(this.set.voices);
    await this.reset();
  }

  /** Back to how it opened. */
  async reset() {
    element('strength').value = 1;
    this.faces.choose('neutral');
    this.sounds.choose('happy');
    this.face = this.voice = null;  // so that nothing is drawn before both are there
    await this.showFace();
    await this.playVoice();
  }

  // ---------------------------------------------------------------- faces

  async showFace() {
    const chosen = this.faces.chosen;
    if (chosen.encoded) {
      [this.face, this.notes.face] = [chosen.encoded, chosen.notes];
    } else {
      const {picture} = await readPicture(await exampleFile(chosen.file));
      this.face = await this.encodeCrop(picture);
      this.notes.face = [];
    }
    await this.faceChanged();
  }

  encodeCrop(crop) {
    return this.networks.encodeFace(channelsFirst(crop, value => value / 255));
  }

  async faceChanged() {
    const {size} = this.set;
    element('original').src = pictureAddress(this.face.picture, size);
    element('reconstruction').src = pictureAddress(this.face.reconstruction, size);
    await this.draw();
    await this.compare();
  }

  async takePicture(file) {
    const {picture, notes} = await readPicture(file);
    await this.useOwnPicture(picture, file.name, notes);
  }

  /** A picture of exactly the networks' size is taken as a finished crop; in any other the face is found. */
  async useOwnPicture(picture, name, notes) {
    const {size} = this.set;
    let crop = picture;
    if (picture.width !== size || picture.height !== size) {
      const answer = await cropFace(picture, size, this.findFace);
      crop = answer.crop;
      const outcome = answer.found ? 'face found and cropped' : 'no face found, so the middle of it was taken';
      notes = [...notes, `${name}: ${outcome}`];
    }
    const encoded = await this.encodeCrop(crop);
    this.faces.add({name, encoded, notes});
    await this.showFace();
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
    const chosen = this.sounds.chosen;
    const sound = chosen.encoded ? chosen : await this.exampleVoice(chosen);
    this.voice = sound.encoded;
    this.notes.voice = sound.notes;
    this.offerSound(sound.wav);
    await this.draw();
    await this.compare();
  }

  offerSound(wav) {
    const player = element('player');
    if (player.src) URL.revokeObjectURL(player.src);
    player.src = URL.createObjectURL(wav);
  }

  /** A shipped voice, encoded when it is first needed. */
  async exampleVoice({file}) {
    if (!this.voices.has(file)) this.voices.set(file, await this.encodeSound(await exampleFile(file)));
    return {...this.voices.get(file), notes: []};
  }

  async encodeSound(file) {
    const {mel, samples, rate, notes} = await readSound(file);
    return {encoded: await this.networks.encodeVoice(mel), wav: heardAsWav(samples, rate), notes};
  }

  async takeSound(file) {
    this.sounds.add({name: file.name, ...await this.encodeSound(file)});
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
      button.textContent = 'record 3.8 s';
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
    const {size, classes} = this.set;
    const {probabilities, picture} = await this.networks.perceive(face, voice, strength);
    this.perceived = {picture, probabilities, strength};
    const label = labelOf(probabilities, classes);
    element('perceived').src = pictureAddress(picture, size);
    element('perceived').alt = `the face as perceived with this voice, read as ${label}`;
    element('difference').src = differenceAddress(picture, face.reconstruction, size, this.manifest.colour_map);
    showHeadline(element('headline'), face.probabilities, probabilities, classes);
    showBars(element('bars'), face.probabilities, probabilities, classes, this.manifest.colours);
    const notes = [...this.notes.face, ...this.notes.voice];
    element('notes').replaceChildren(
      ...(notes.length ? notes : [HINT]).map(note => make('div', {className: 'cm-note', textContent: note})));
  }

  /** Show this face with a voice of each class, of the actor whose voice is chosen. */
  async compare() {
    const {face, strength} = this;
    if (!face || !this.voice) return;
    const ticket = ++this.drawings;
    const answers = [];
    for (const example of this.comparedVoices()) {
      const {encoded} = await this.exampleVoice(example);
      const {probabilities, picture} = await this.networks.perceive(face, encoded, strength);
      answers.push({voice: example.emotion, picture, label: labelOf(probabilities, this.set.classes)});
      await pause();  // let a drag come between
      if (ticket !== this.drawings) return;
    }
    this.row = answers;
    const chosen = this.sounds.isOwn ? '' : this.sounds.emotions.value;
    showRow(element('row'), answers, chosen, this.set.size, this.manifest.colours);
  }

  comparedVoices() {
    const examples = this.set.voices;
    const actor = this.sounds.isOwn ? examples[0].actor : this.sounds.chosen.actor;
    return examples.filter(example => example.actor === actor);
  }

  // ---------------------------------------------------------------- saving

  async savePicture() {
    const {classes, size} = this.set;
    const {picture, probabilities, strength} = this.perceived;
    const pictures = [this.face.picture, this.face.reconstruction, picture];
    const captions = [
      'original', `reconstruction: ${labelOf(this.face.probabilities, classes)}`,
      `perceived, t = ${strength}: ${labelOf(probabilities, classes)}`,
    ];
    save(await stripFile(pictures.map(each => pictureAddress(each, size)), captions), 'picture.png');
  }

  async saveStrip() {
    const pictures = [this.face.picture, ...this.row.map(answer => answer.picture)];
    const captions = ['original', ...this.row.map(({voice, label}) => `${voice} voice: ${label}`)];
    save(await stripFile(pictures.map(each => pictureAddress(each, this.set.size)), captions, 192), 'strip.png');
  }
}

function save(blob, name) {
  const link = make('a', {href: URL.createObjectURL(blob), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
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
  const demo = new Demo(manifest, await loadFaceFinder(manifest.find_face));
  element('set').append(...manifest.sets.map(({name, title}) => make('option', {value: name, textContent: title})));
  element('set-line').hidden = manifest.sets.length < 2;
  document.documentElement.style.setProperty('--accent', manifest.accent);
  await demo.useSet(manifest.sets[0].name);
  element('demo').removeAttribute('aria-busy');
  for (const control of document.querySelectorAll('[data-waits]')) control.disabled = false;
}

start().catch(error => {
  console.warn(error);
  element('error').textContent = `the demo cannot start: ${error.message}`;
});
