/* Find the face in a picture and cut it out, to the same pixels as cmlib/preparation/cropping.py and detector.py.

   A picture is {width, height, pixels}: bytes in the order red, green, blue, row by row.  A square is {x, y, side,
   roll}: its centre and side in pixels, and by how many radians it is turned.  The arithmetic of reduced() and
   sampled() is that of the library Pillow, down to how it rounds. */

const CROP_SIDE_IN_EYE_DISTANCES = 3.4;
const EYE_HEIGHT = 0.40;

const DETECTOR_SIZE = 128;    // side of the picture that the face finder sees
const FACE_THRESHOLD = 0.5;   // a face counts as found if its probability is higher
const CLOSE_UP = 1.3;         // the second, closer look covers this multiple of the crop's side
const NUMBERS_OF_ANCHOR = 16; // 8 points x, y: the face's centre, its size, eyes, nose, mouth, ears

// Squares of these sides are searched for a face one after another.
const SEARCH_SIDES = [
  (height, width) => Math.max(height, width),
  (height, width) => 0.6 * Math.min(height, width),
  (height, width) => 1.6 * Math.max(height, width),
];

/** The face of a picture as a square picture of `size` pixels, and whether a face was found.

    `findFace` is the network: a Float32Array (3, 128, 128) in -1...1 -> {points, probabilities}. */
export async function cropFace(picture, size, findFace) {
  const points = await facePoints(picture, findFace);
  const {width, height} = picture;
  const middle = {x: width / 2, y: height / 2, side: Math.min(width, height), roll: 0};
  const square = points ? squareAround(points) : middle;
  return {crop: cutSquare(picture, square, size), found: points !== null};
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

/** The six points of the face in a picture, or null. */
async function facePoints(picture, findFace) {
  let points = null;
  for (const searchSide of SEARCH_SIDES) {
    const {width, height} = picture;
    const square = {x: width / 2, y: height / 2, side: searchSide(height, width), roll: 0};
    points = await pointsInSquare(picture, square, true, findFace);
    if (points) break;
  }
  if (!points) return null;
  const around = squareAround(points);
  const closer = {...around, side: CLOSE_UP * around.side};
  return await pointsInSquare(picture, closer, false, findFace) ?? points;
}

async function pointsInSquare(picture, square, preferLarge, findFace) {
  const small = cutSquare(picture, square, DETECTOR_SIZE);
  const input = channelsFirst(small, value => value / 127.5 - 1);
  const {points, probabilities} = await findFace(input);
  const face = mostProminentFace(points, probabilities, preferLarge);
  if (!face) return null;
  const [cos, sin] = [Math.cos(square.roll), Math.sin(square.roll)];
  return face.slice(2).map(([x, y]) => {
    const [right, down] = [(x - 0.5) * square.side, (y - 0.5) * square.side];
    return [square.x + right * cos - down * sin, square.y + right * sin + down * cos];
  });
}

/** Eight points, [x, y] each in units of the side, or null.

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
  if (scores[best] <= FACE_THRESHOLD) return null;

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
  return sum.map(([x, y]) => [x / total, y / total]);
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
