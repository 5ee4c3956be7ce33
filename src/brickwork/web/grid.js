// Which noise levels a sampler visits: steps + 1 waist levels, from the process's highest down to 0, in float64.

import { sigmaMax, sigmaMin } from "./process.js";

/** count numbers from start to stop in even steps, as numpy computes them. */
export function linspace(start, stop, count) {
  const step = (stop - start) / (count - 1);
  return Array.from({ length: count }, (_, i) => (i > 0 && i === count - 1 ? stop : i === 0 ? start : i * step + start));
}

/** Even in sigma^(1/rho). Karras et al., 2206.00364, Eq. 5. */
function karras(process, steps, { rho = 7 }) {
  const [high, low] = [sigmaMax(process) ** (1 / rho), sigmaMin(process) ** (1 / rho)];
  return linspace(high, low, steps).map((root) => root ** rho);
}

/** Even in ln sigma. Lu et al., 2206.00927, Sec. 3.3. */
function logSnr(process, steps) {
  return linspace(Math.log(sigmaMax(process)), Math.log(sigmaMin(process)), steps).map(Math.exp);
}

/** Even in the process's own time, down to t = 0. */
function linearTime(process, steps) {
  return Array.from({ length: steps }, (_, i) => process.level(process.t_max * (1 - i / steps)));
}

export const GRIDS = { karras, "log-snr": logSnr, linear: linearTime };

/** The levels of a grid: [name, options], for a process, falling; steps + 1 of them, the last 0. */
export function levels([name, options], process, steps) {
  const positive = GRIDS[name](process, steps, options);
  return [sigmaMax(process), ...positive.slice(1), 0];
}
