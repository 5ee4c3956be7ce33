// Classifier-free guidance: D_null + scale * (D_cond - D_null). Ho and Salimans, 2207.12598, Eq. 6 (whose w is
// scale - 1); the interval, low < sigma <= high: Kynkäänniemi et al., 2404.07724.

import { add, scale, subtract } from "./arrays.js";

/**
 * A guided denoiser of one picture.
 * @param run run(x, s, conditions) resolves to an estimate for each condition, all at the same x and level
 * @param condition what is asked for; null where there is nothing to ask for
 * @param nothing the same asked for nothing
 * @param guidance 1 is off
 * @param interval waist levels; an upper end of null is none
 */
export function guided(run, condition, nothing, guidance, [low, high]) {
  const [above, upTo] = [Math.fround(low), Math.fround(high ?? Infinity)];
  return async (x, s) => {
    const single = Math.fround(s);
    if (guidance === 1 || condition === null || !(single > above && single <= upTo)) {
      return (await run(x, s, [condition]))[0];
    }
    const [wanted, without] = await run(x, s, [condition, nothing]);
    return add(without, scale(guidance, subtract(wanted, without)));
  };
}
