/* Find the face in a picture and cut it out, to the same pixels as cmlib/preparation/cropping.py and detector.py.

   A picture is {width, height, pixels}: bytes in the order red, green, blue, row by row.  A square is {x, y, side,
   roll}: its centre and side in pixels, and by how many radians it is turned.  The arithmetic of reduced() and
   sampled() is that of the library Pillow, down to how it rounds. */

const CROP_SIDE_IN_EYE_DISTANCES = 3.4;
const EYE_HEIGHT = 0.40;

const DETECTOR_SIZE = 128;    // side of the picture that the face finder sees
const FACE_THRESHOLD = 0.5;   // a face counts as found if its probability is higher
const CLOSE_UP = 1.3;         // the second, closer look covers this multiple of the crop's side
const UPRIGHT_SCORE = 0.85;   // below this, a head may be on its side or upside down, or no head at all
const TURN_MARGIN = 0.03;     // a head is turned only if the face finder is then by so much surer
const MIN_CERTAINTY = 0.75;   // of a doubtful face and of its mirror image
const MIN_CERTAINTY_OF_SMALL = 0.85; // a search in many small squares finds more that is no face
const SMALL_SQUARE = 0.4;     // the side of these squares, as a share of the picture's shorter side
const MIN_SMALL_SQUARE = 32;  // pixels: smaller squares show nothing
const MAX_CANDIDATES = 8;     // faces of small squares that are looked at more closely
const MIN_FACE_SIDE = 48;     // pixels of a crop: a smaller one shows little of a face
const QUARTER_TURNS = [1, 2, 3].map(quarters => quarters * Math.PI / 2);
const NUMBERS_OF_ANCHOR = 16; // 8 points x, y: the face's centre, its size, eyes, nose, mouth, ears

// Squares of these sides are searched for a face one after another.
const SEARCH_SIDES = [
  (height, width) => Math.max(height, width),
  (height, width) => 0.6 * Math.min(height, width),
  (height, width) => 1.6 * Math.max(height, width),
];

/** The face of a picture as a square picture of `size` pixels, and what is to be said about it: {crop, remarks}.

    A picture of exactly this size is a finished crop, if its face is where it is in a crop.  `findFace` is the network: a
    Float32Array (3, 128, 128) in -1...1 -> {points, probabilities}. */
export async function cropFace(picture, size, findFace) {
  const {width, height} = picture;
  const points = await facePoints(picture, findFace);
  const middle = {x: width / 2, y: height / 2, side: Math.min(width, height), roll: 0};
  const square = points ? squareAround(points) : middle;
  if (width === size && height === size && (!points || isInPlace(square, size))) {
    const lack = points ? '' : ', though no face is found in it';
    return {crop: picture, remarks: [`taken as a finished crop, by its size${lack}`]};
  }
  const remarks = points ? await remarksOn(picture, points, square, findFace)
    : ['no face found, so the middle of it was taken'];
  return {crop: cutSquare(picture, square, size), remarks};
}

function isInPlace({x, y, side, roll}, size) {
  const offCentre = Math.hypot(x - size / 2, y - size / 2) / size;
  return offCentre < 0.1 && side > 0.8 * size && side < 1.25 * size && Math.abs(roll) < 0.25;
}

async function remarksOn(picture, points, {x, side, roll}, findFace) {
  const remarks = ['face found and cropped'];
  const others = await otherFaces(picture, points, findFace);
  if (others.length) {
    const third = Math.min(2, Math.max(0, Math.trunc(3 * x / picture.width)));
    const place = ['on the left', 'in the middle', 'on the right'][third];
    remarks.push(`${others.length + 1} faces, of which the most prominent, ${place}, was taken`);
  }
  const degrees = Math.abs(Math.atan2(Math.sin(roll), Math.cos(roll))) * 180 / Math.PI;
  if (degrees > 45)
    remarks.push(`the head was turned by about ${10 * Math.round(degrees / 10)} degrees, so it was set upright`);
  if (side < MIN_FACE_SIDE)
    remarks.push(`the face has only ${side.toFixed(0)} pixels, so little of it can be seen`);
  return remarks;
}

/** The square from brow to chin around six face points, [x, y] each in pixels. */
export function squareAround(points) {
  const [leftEye, rightEye, , mouth] = points;
  const middle = [(leftEye[0] + rightEye[0]) / 2, (leftEye[1] + rightEye[1]) / 2];
  const across = [rightEye[0] - leftEye[0], rightEye[1] - leftEye[1]];
  const roll = Math.atan2(across[1], across[0]);

  // When a head turns away, its eyes move closer together, but eyes and mouth keep their distance.
  const eyeToMouth = Math.hypot(mouth[0] - middle[0], mouth[1] - middle[1]);
  const eyeDistance = Math.max(Math.hypot(...across), 0.8 * eyeToMouth);
  const side = CROP_SIDE_IN_EYE_DISTANCES * eyeDistance;

  // The eyes lie above the centre of the crop, along the axis of the tilted head.
  const belowEyes = (0.5 - EYE_HEIGHT) * side;
  return {
    x: middle[0] - belowEyes * Math.sin(roll),
    y: middle[1] + belowEyes * Math.cos(roll),
    side,
    roll,
  };
}

// ------------------------------------------------------------------ finding the face

/** The six points of the face in a picture, or null.

    A face that is doubtful close up is also looked at on its sides and upside down, and in the mirror. */
async function facePoints(picture, findFace) {
  const {points, score} = await scoredFace(picture, findFace);
  if (points && score >= UPRIGHT_SCORE) return points;
  return await searchAgain(picture, points, score, findFace);
}

/** The face in the whole picture or its middle: {points, score}; the score is that of a closer look. */
async function scoredFace(picture, findFace) {
  const {width, height} = picture;
  for (const searchSide of SEARCH_SIDES) {
    const square = {x: width / 2, y: height / 2, side: searchSide(height, width), roll: 0};
    const {points} = await findInSquare(picture, square, true, findFace);
    if (!points) continue;
    const closer = await findInSquare(picture, closeUp(points), false, findFace);
    return {points: closer.points ?? points, score: closer.score};
  }
  return {points: null, score: 0};
}

/** The square in which a face is examined again. */
function closeUp(points) {
  const square = squareAround(points);
  return {...square, side: CLOSE_UP * square.side};
}

/** Points and score of a face; others, if the face finder is surer of it after quarter turns. */
async function turnUpright(picture, points, score, findFace) {
  const square = closeUp(points);
  let turned = {points: null, score: 0};
  for (const turn of QUARTER_TURNS) {
    const answer = await findInSquare(picture, {...square, roll: square.roll + turn}, false, findFace);
    if (answer.score > turned.score) turned = answer;
  }
  if (!turned.points || turned.score < Math.max(score + TURN_MARGIN, MIN_CERTAINTY)) return {points, score};
  // Only now it is known where the eyes are, so the head is looked at once more.
  const precise = await findInSquare(picture, closeUp(turned.points), false, findFace);
  if (!precise.points) return turned;
  return precise.score < score + TURN_MARGIN ? {points, score} : precise;
}

/** The face in a picture in which none or only a doubtful one was found, or null without a face. */
async function searchAgain(picture, points, score, findFace) {
  if (points) {
    ({points, score} = await turnUpright(picture, points, score, findFace));
    if (await certainty(picture, points, findFace) >= MIN_CERTAINTY) return points;
  }
  const {width, height} = picture;
  const whole = {x: width / 2, y: height / 2, side: Math.max(width, height)};
  const turned = QUARTER_TURNS.map(roll => ({...whole, roll}));
  return await mostCertain(picture, turned, MIN_CERTAINTY, findFace)
    ?? await mostCertain(picture, smallSquares(height, width), MIN_CERTAINTY_OF_SMALL, findFace);
}

/** Squares that cover a picture; each overlaps its neighbours by half of its side. */
function smallSquares(height, width) {
  const side = SMALL_SQUARE * Math.min(height, width);
  if (side < MIN_SMALL_SQUARE) return [];
  const centres = length => {
    const count = Math.ceil(2 * length / side) - 1;
    return Array.from({length: count}, (_, i) => side / 2 + i * (length - side) / (count - 1));
  };
  return centres(height).flatMap(y => centres(width).map(x => ({x, y, side, roll: 0})));
}

/** The face in squares of a picture that is the most certain one, or null if all are less. */
async function mostCertain(picture, squares, least, findFace) {
  const found = [];
  for (const square of squares) {
    const answer = await findInSquare(picture, square, true, findFace);
    if (answer.points) found.push(answer);
  }
  found.sort((a, b) => b.score - a.score);
  let best = {certainty: 0, points: null};
  for (const answer of found.slice(0, MAX_CANDIDATES)) {
    const {points} = await turnUpright(picture, answer.points, answer.score, findFace);
    const candidate = {certainty: await certainty(picture, points, findFace), points};
    if (candidate.certainty > best.certainty) best = candidate;
  }
  return best.certainty >= least ? best.points : null;
}

/** The lower score of a face close up and of its mirror image. */
async function certainty(picture, points, findFace) {
  const small = cutSquare(picture, closeUp(points), DETECTOR_SIZE);
  const scores = [];
  for (const each of [small, mirrored(small)]) {
    const answer = await findFace(detectorInput(each));
    scores.push(mostProminentFace(answer.points, answer.probabilities, false).score);
  }
  return Math.min(...scores);
}

/** Points of further faces that are seen in the whole picture beside the one at `points`. */
async function otherFaces(picture, points, findFace) {
  const {width, height} = picture;
  const square = {x: width / 2, y: height / 2, side: Math.max(width, height), roll: 0};
  const answer = await findFace(detectorInput(cutSquare(picture, square, DETECTOR_SIZE)));
  const scores = answer.probabilities;
  const anchors = Array.from(scores.keys()).filter(anchor => scores[anchor] > FACE_THRESHOLD);
  anchors.sort((a, b) => scores[b] - scores[a]);
  const seen = [points];
  for (const anchor of anchors) {
    const face = pointsOf(answer.points, anchor);
    const placed = placedIn(square, face);
    const [x, y] = meanOf(placed);
    const distances = seen.map(other => Math.hypot(x - meanOf(other)[0], y - meanOf(other)[1]));
    if (Math.min(...distances) > 0.6 * face[1][0] * square.side
        && await certainty(picture, placed, findFace) > MIN_CERTAINTY)
      seen.push(placed);
  }
  return seen.slice(1);
}

function meanOf(points) {
  return [0, 1].map(axis => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
}

/** Search a square of a picture: {points, score}, without a face of points null. */
async function findInSquare(picture, square, preferLarge, findFace) {
  const {points, probabilities} = await findFace(detectorInput(cutSquare(picture, square, DETECTOR_SIZE)));
  const {face, score} = mostProminentFace(points, probabilities, preferLarge);
  return {points: face && placedIn(square, face), score};
}

function detectorInput(picture) {
  return channelsFirst(picture, value => value / 127.5 - 1);
}

/** The last six of eight points, from units of a square's side to pixels of the picture that it lies in. */
function placedIn(square, face) {
  const [cos, sin] = [Math.cos(square.roll), Math.sin(square.roll)];
  return face.slice(2).map(([x, y]) => {
    const [right, down] = [(x - 0.5) * square.side, (y - 0.5) * square.side];
    return [square.x + right * cos - down * sin, square.y + right * sin + down * cos];
  });
}

/** The eight points of an anchor, [x, y] each. */
function pointsOf(points, anchor) {
  return Array.from({length: 8}, (_, point) => {
    const start = anchor * NUMBERS_OF_ANCHOR + 2 * point;
    return [points[start], points[start + 1]];
  });
}

function mirrored({width, height, pixels}) {
  const mirror = new Uint8Array(pixels.length);
  for (let row = 0; row < height; row++)
    for (let column = 0; column < width; column++) {
      const from = 3 * (row * width + column), to = 3 * (row * width + width - 1 - column);
      mirror.set(pixels.subarray(from, from + 3), to);
    }
  return {width, height, pixels: mirror};
}

/** {face, score}: eight points, [x, y] each in units of the side, or null without a face.

    Of several faces the most central one is taken; with `preferLarge`, size counts as well.  The points are the mean of
    those of the anchors that see the face, weighted by their scores. */
function mostProminentFace(points, scores, preferLarge) {
  const at = (anchor, point) => {
    const start = anchor * NUMBERS_OF_ANCHOR + 2 * point;
    return [points[start], points[start + 1]];
  };
  let best = 0, most = -1;
  for (let anchor = 0; anchor < scores.length; anchor++) {
    const score = scores[anchor] > FACE_THRESHOLD ? scores[anchor] : 1e-3 * scores[anchor];
    const size = preferLarge ? Math.min(1, Math.max(0.02, at(anchor, 1)[0])) : 1;
    const [x, y] = at(anchor, 0);
    const prominence = score * size * Math.max(0.1, 1 - Math.hypot(x - 0.5, y - 0.5));
    if (prominence > most) [best, most] = [anchor, prominence];
  }
  if (scores[best] <= FACE_THRESHOLD) return {face: null, score: scores[best]};

  const [centreX, centreY] = at(best, 0);
  const reach = 0.3 * at(best, 1)[0];
  const sum = Array.from({length: 8}, () => [0, 0]);
  let total = 0;
  for (let anchor = 0; anchor < scores.length; anchor++) {
    const [x, y] = at(anchor, 0);
    if (scores[anchor] <= FACE_THRESHOLD || Math.hypot(x - centreX, y - centreY) >= reach) continue;
    total += scores[anchor];
    for (let point = 0; point < 8; point++) {
      const [px, py] = at(anchor, point);
      sum[point][0] += scores[anchor] * px;
      sum[point][1] += scores[anchor] * py;
    }
  }
  return {face: sum.map(([x, y]) => [x / total, y / total]), score: scores[best]};
}

// ------------------------------------------------------------------ cutting

/** A square of a picture, scaled to `size` x `size`.  Beyond the picture its edge is repeated.

    To avoid aliasing, pixels are averaged in blocks, and the blocks are sampled more finely than needed and averaged
    again. */
export function cutSquare(picture, {x, y, side, roll}, size) {
  const [cos, sin] = [Math.cos(roll), Math.sin(roll)];
  const block = Math.max(1, Math.trunc(side / size / 1.5));
  const reach = side * (Math.abs(cos) + Math.abs(sin)) / 2 + 2 * block;
  const left = Math.floor((x - reach) / block), right = Math.floor((x + reach) / block);
  const top = Math.floor((y - reach) / block), bottom = Math.floor((y + reach) / block);
  const region = withEdges(reduced(picture, block), left, right, top, bottom);

  // From here on, a unit of length is a block, and the origin is the corner of the region.
  [x, y, side] = [x / block - left, y / block - top, side / block];
  const oversampling = Math.max(1, Math.ceil(side / size));
  const samples = size * oversampling;
  const stepX = side / samples * cos, stepY = side / samples * sin;
  const half = samples / 2;
  const corner = [x - (stepX - stepY) * half, y - (stepY + stepX) * half];
  return reduced(sampled(region, samples, stepX, stepY, corner), oversampling);
}

/** A picture whose pixels are means of `block` x `block` pixels; at the right and the lower edge, of fewer. */
function reduced({width, height, pixels}, block) {
  if (block === 1) return {width, height, pixels};
  const columns = Math.ceil(width / block), rows = Math.ceil(height / block);
  const means = new Uint8Array(3 * columns * rows);
  for (let row = 0; row < rows; row++) {
    const tall = Math.min(block, height - row * block);
    for (let column = 0; column < columns; column++) {
      const wide = Math.min(block, width - column * block);
      const count = tall * wide;
      // Pillow multiplies by a whole number instead of dividing, and so rounds a little differently.
      const factor = Math.trunc(Math.fround(2 ** 32 / (256 * count)));
      for (let colour = 0; colour < 3; colour++) {
        let sum = Math.trunc(count / 2);
        for (let i = 0; i < tall; i++) {
          let from = 3 * ((row * block + i) * width + column * block) + colour;
          for (let j = 0; j < wide; j++, from += 3) sum += pixels[from];
        }
        means[3 * (row * columns + column) + colour] = Math.floor(sum * factor / 2 ** 24);
      }
    }
  }
  return {width: columns, height: rows, pixels: means};
}

/** Columns `left`...`right` and rows `top`...`bottom` of a picture, whose edges are repeated beyond it. */
function withEdges({width, height, pixels}, left, right, top, bottom) {
  const wide = right - left + 1, tall = bottom - top + 1;
  const region = new Uint8Array(3 * wide * tall);
  for (let i = 0, to = 0; i < tall; i++) {
    const row = Math.min(height - 1, Math.max(0, top + i));
    for (let j = 0; j < wide; j++, to += 3) {
      const from = 3 * (row * width + Math.min(width - 1, Math.max(0, left + j)));
      region.set(pixels.subarray(from, from + 3), to);
    }
  }
  return {width: wide, height: tall, pixels: region};
}

/** `samples` x `samples` pixels of a picture, between whose pixels is interpolated linearly. */
function sampled({width, height, pixels}, samples, stepX, stepY, [cornerX, cornerY]) {
  const result = new Uint8Array(3 * samples * samples);
  for (let i = 0, to = 0; i < samples; i++) {
    for (let j = 0; j < samples; j++, to += 3) {
      // The middle of a pixel lies at one half.
      const [column, row] = [j + 0.5, i + 0.5];
      const x = stepX * column - stepY * row + cornerX;
      const y = stepY * column + stepX * row + cornerY;
      if (x < 0 || x >= width || y < 0 || y >= height) continue;
      const left = Math.floor(x - 0.5), above = Math.floor(y - 0.5);
      const toRight = x - 0.5 - left, down = y - 0.5 - above;
      const right = Math.min(width - 1, left + 1);
      const upper = width * Math.max(0, above);
      const lower = width * Math.min(height - 1, above + 1);
      const first = Math.max(0, left);
      for (let colour = 0; colour < 3; colour++) {
        const a = pixels[3 * (upper + first) + colour], b = pixels[3 * (upper + right) + colour];
        const c = pixels[3 * (lower + first) + colour], d = pixels[3 * (lower + right) + colour];
        const over = a + (b - a) * toRight, under = c + (d - c) * toRight;
        result[to + colour] = Math.trunc(over + (under - over) * down);
      }
    }
  }
  return {width: samples, height: samples, pixels: result};
}

/** A picture as a Float32Array (3, height, width), each byte changed by `scale`. */
export function channelsFirst({width, height, pixels}, scale) {
  const plane = width * height;
  const values = new Float32Array(3 * plane);
  for (let i = 0; i < plane; i++)
    for (let colour = 0; colour < 3; colour++)
      values[colour * plane + i] = scale(pixels[3 * i + colour]);
  return values;
}
