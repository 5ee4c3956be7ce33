// Arithmetic on Float32Arrays as numpy does it: the numbers beside them are rounded to float32 first, and every
// operation rounds its result. So a picture here is the picture there.

const f = Math.fround;

/** a + b */
export const add = (a, b) => a.map((value, i) => value + b[i]);

/** a - b */
export const subtract = (a, b) => a.map((value, i) => value - b[i]);

/** number * a */
export function scale(number, a) {
  const factor = f(number);
  return a.map((value) => factor * value);
}

/** a / number */
export function divide(a, number) {
  const divisor = f(number);
  return a.map((value) => value / divisor);
}
