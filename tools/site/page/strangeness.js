/* How far a face is from what its network has learnt, as cmlib/strangeness.py measures it. */

const SIDE = 64;  // pixels at which a picture and its reconstruction are compared, at most
const FLAT = 1e-8; // a picture with less contrast has none

/** The largest of three measures in units of their `limits`; null where a network has none.

    `picture` and `drawn` are (3, size, size) in 0...1, `mu` is the latent mean. */
export function strangenessOf(picture, drawn, mu, size, limits) {
  if (!limits) return null;
  const small = smaller(picture, size), smallDrawn = smaller(drawn, size);
  const difference = small.values.map((value, i) => value - smallDrawn.values[i]);
  const contrast = Math.max(FLAT, gradientEnergy(small.values, small.side));
  const measures = {
    error: meanSquare(difference),
    detail: gradientEnergy(difference, small.side) / contrast,
    distance: Math.sqrt(meanSquare(mu)),
  };
  return Math.max(...Object.keys(measures).map(name => measures[name] / limits[name]));
}

function meanSquare(values) {
  return values.reduce((sum, value) => sum + value * value, 0) / values.length;
}

/** Means of squares of pixels -> {values: (3, side, side), side}. */
function smaller(values, size) {
  const block = Math.max(1, Math.trunc(size / SIDE));
  const side = Math.trunc(size / block);
  const means = new Float64Array(3 * side * side);
  for (let colour = 0; colour < 3; colour++)
    for (let row = 0; row < side * block; row++)
      for (let column = 0; column < side * block; column++) {
        const to = (colour * side + Math.trunc(row / block)) * side + Math.trunc(column / block);
        means[to] += values[(colour * size + row) * size + column] / block ** 2;
      }
  return {values: means, side};
}

/** Mean square of the differences of neighbouring pixels, across and down. */
function gradientEnergy(values, side) {
  let across = 0, down = 0;
  for (let i = 0; i < values.length; i++) {
    const column = i % side, row = Math.trunc(i / side) % side;
    if (column) across += (values[i] - values[i - 1]) ** 2;
    if (row) down += (values[i] - values[i - side]) ** 2;
  }
  return (across + down) / (3 * side * (side - 1));
}
