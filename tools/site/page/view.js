/* Draw what the networks answer: pictures, bars, and the row of all voices. */

const DIFFERENCE_GAIN = 4;  // the difference map is brightened by this much, as its caption says

const percent = share => `${(100 * share).toFixed(0)}\u00a0%`;  // on one line

/** The address of a picture (3, size, size) in 0...1, for an <img>. */
export function pictureAddress(values, size) {
  const plane = size * size;
  return drawn(size, (data, to, i) => {
    for (let colour = 0; colour < 3; colour++) data[to + colour] = Math.round(255 * values[colour * plane + i]);
  });
}

/** The address of a map of how much two pictures differ, in the colours of `colourMap` (256 times red, green, blue). */
export function differenceAddress(first, second, size, colourMap) {
  const plane = size * size;
  return drawn(size, (data, to, i) => {
    let change = 0;
    for (let colour = 0; colour < 3; colour++)
      change += Math.abs(first[colour * plane + i] - second[colour * plane + i]) / 3;
    const brightened = colourMap[Math.min(255, Math.floor(256 * DIFFERENCE_GAIN * change))];
    for (let colour = 0; colour < 3; colour++) data[to + colour] = brightened[colour];
  });
}

/** `setPixel(data, to, i)` writes red, green and blue of pixel i to places from `to` on. */
function drawn(size, setPixel) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = size;
  const image = new ImageData(size, size);
  image.data.fill(255);
  for (let i = 0; i < size * size; i++) setPixel(image.data, 4 * i, i);
  canvas.getContext('2d').putImageData(image, 0, 0);
  return canvas.toDataURL();
}

/** The most probable class. */
export function labelOf(probabilities, classes) {
  return classes[probabilities.indexOf(Math.max(...probabilities))];
}

/** The class before and after, in words. */
export function showHeadline(element, alone, inContext, classes) {
  element.replaceChildren(
    'alone ', bold(labelOf(alone, classes)), ` (${percent(Math.max(...alone))}), with this voice `,
    bold(labelOf(inContext, classes)), ` (${percent(Math.max(...inContext))})`);
}

function bold(text) {
  return make('b', {textContent: text});
}

/** Probabilities of the face alone as hollow bars, and in context as filled ones. */
export function showBars(element, alone, inContext, classes, colours) {
  const most = Math.max(...inContext);
  element.replaceChildren(...classes.flatMap((name, i) => {
    const fontWeight = inContext[i] === most ? 700 : 400;
    const hollow = make('i'), filled = make('i');
    Object.assign(hollow.style, {border: `1.5px solid ${colours[name]}`, width: `${100 * alone[i]}%`});
    Object.assign(filled.style, {background: colours[name], width: `${100 * inContext[i]}%`});
    const track = make('div', {className: 'cm-track'});
    track.append(hollow, filled);
    const label = make('span', {textContent: name});
    const numbers = make('span', {
      textContent: `${(100 * alone[i]).toFixed(0)} → ${percent(inContext[i])}`,
    });
    label.style.fontWeight = numbers.style.fontWeight = fontWeight;
    return [label, track, numbers];
  }));
}

/** One face with each voice; `answers` are {voice, picture, label}, the `chosen` voice is marked. */
export function showRow(element, answers, chosen, size, colours) {
  element.replaceChildren(...answers.map(({voice, picture, label}) => {
    const figure = make('figure', {className: voice === chosen ? 'cm-here' : ''});
    const name = bold(voice);
    name.style.borderColor = colours[voice];
    figure.append(
      make('img', {
        src: pictureAddress(picture, size),
        alt: `the face as perceived with a voice that sounds ${voice}: read as ${label}`,
      }),
      name, make('span', {textContent: `reads ${label}`}));
    return figure;
  }));
}

/** Pictures in a row with captions below, as a PNG file. */
export async function stripFile(addresses, captions, side = 256) {
  const gap = side / 32, captionHeight = side / 8;
  const canvas = document.createElement('canvas');
  canvas.width = addresses.length * (side + gap) + gap;
  canvas.height = side + gap + captionHeight;
  const context = canvas.getContext('2d');
  context.fillStyle = 'white';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = '#22252B';
  context.font = `${side / 16}px system-ui, sans-serif`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  for (const [i, address] of addresses.entries()) {
    const image = make('img', {src: address});
    await image.decode();
    const left = gap + i * (side + gap);
    context.drawImage(image, left, gap, side, side);
    context.fillText(captions[i], left + side / 2, side + gap + captionHeight / 2, side);
  }
  return new Promise(resolve => canvas.toBlob(resolve));
}

/** An element with these properties. */
export function make(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}
